"""What a journal says, and its records as they stand in the file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from keyfleet.batch.line_set import LineSet, decode_ranges, encode_ranges
from keyfleet.batch.lines import Fed

__all__ = ["JOURNAL_VERSION", "BatchRecord", "JournalHeader", "JournalState", "RecordError", "decode", "encode"]

JOURNAL_VERSION = 1
"""Of the file's format. A program refuses a journal of a later version."""


class RecordError(ValueError):
    """A record that is torn, damaged or none."""


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """What a job is. `parent_job_id` is set in the journal of a retry; `replaces` in one that a merge has written.

    `reasons` restricts a retry to lines that failed for one of them.

    `format`, `ordered` and `url` must be the same when a job is resumed; `input_name` only serves messages.
    """

    job_id: str
    input_name: str
    format: str
    ordered: bool
    url: str | None
    resumable: bool = True
    parent_job_id: str | None = None
    replaces: bool = False
    reasons: tuple[str, ...] = ()
    version: int = JOURNAL_VERSION


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One group of rows that is on the disk: line numbers in the order written, and the files' lengths after it.

    `skipped` lines (blank ones) have no row. In an ordered job `next_line` is the first line that is not in the
    output yet; lines behind it wait in the spool. `output_crc` is of the bytes that this group added to the output.
    """

    written: tuple[int, ...]
    failed: tuple[int, ...]
    skipped: tuple[int, ...]
    output_bytes: int
    errors_bytes: int
    spool_bytes: int
    next_line: int
    output_crc: int
    fed: Fed
    reasons: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Failed lines by why they failed; the state doesn't keep it."""


@dataclass(slots=True)
class JournalState:
    """The sum of a journal's records. `written` holds the skipped lines too."""

    header: JournalHeader
    written: LineSet = field(default_factory=LineSet)
    failed: LineSet = field(default_factory=LineSet)
    skipped: LineSet = field(default_factory=LineSet)
    output_bytes: int = 0
    errors_bytes: int = 0
    spool_bytes: int = 0
    next_line: int = 1
    fed: Fed = field(default_factory=lambda: Fed(0, 0, ""))
    done: bool = False
    merged: bool = False
    last_group: tuple[int, int, int] | None = None
    """Start, end and checksum of the last bytes that were added to the output."""

    @property
    def finished_lines(self) -> int:
        """Lines with an outcome, failures included."""
        return len(self.written) - len(self.skipped)

    @property
    def failed_lines(self) -> int:
        return len(self.failed)

    def apply_batch(self, record: BatchRecord) -> None:
        for numbers, lines in (
            (record.written, self.written),
            (record.skipped, self.written),
            (record.skipped, self.skipped),
            (record.failed, self.failed),
        ):
            for number in numbers:
                lines.add(number)
        if record.output_bytes > self.output_bytes:
            self.last_group = (self.output_bytes, record.output_bytes, record.output_crc)
        self.output_bytes, self.errors_bytes = record.output_bytes, record.errors_bytes
        self.spool_bytes, self.next_line = record.spool_bytes, record.next_line
        self._passed(record.fed)
        self.done = False

    def apply_done(self, fed: Fed) -> None:
        self._passed(fed)
        self.done = True

    def _passed(self, fed: Fed) -> None:
        if fed.offset >= self.fed.offset:  # a resumed run reads from the start again
            self.fed = fed

    def apply(self, record: dict[str, Any]) -> None:
        """Raises RecordError for a record that this version doesn't know."""
        try:
            kind = record["t"]
            if kind == "b":
                self.apply_batch(_batch_from(record))
            elif kind == "d":
                self.apply_done(Fed(*record["in"]))
            elif kind == "m":
                self.merged = True
            else:
                raise RecordError(f"unknown kind {kind!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(str(error)) from error


def header_record(header: JournalHeader) -> dict[str, Any]:
    return {"t": "h", **{entry.name: getattr(header, entry.name) for entry in fields(header)}}


def header_from(record: dict[str, Any]) -> JournalHeader:
    """Raises RecordError; of a later version it reads nothing but the version."""
    if record.get("t") != "h" or not isinstance(record.get("version"), int):
        raise RecordError("no header")
    try:
        known = {entry.name for entry in fields(JournalHeader)}
        given = {key: value for key, value in record.items() if key in known}
        return JournalHeader(**{**given, "reasons": tuple(given.get("reasons", ()))})
    except TypeError as error:
        raise RecordError(str(error)) from error


def batch_record(batch: BatchRecord) -> dict[str, Any]:
    record: dict[str, Any] = {
        "t": "b",
        "w": encode_ranges(batch.written),
        "o": batch.output_bytes,
        "e": batch.errors_bytes,
        "s": batch.spool_bytes,
        "x": batch.next_line,
        "c": batch.output_crc,
        "in": fed_record(batch.fed),
    }
    if batch.failed:
        record["f"] = encode_ranges(batch.failed)
    if batch.reasons:
        record["r"] = {reason: encode_ranges(numbers) for reason, numbers in batch.reasons.items()}
    if batch.skipped:
        record["k"] = encode_ranges(batch.skipped)
    return record


def fed_record(fed: Fed) -> list[Any]:
    return [fed.offset, fed.line_number, fed.digest]


def written_in(record: dict[str, Any]) -> Iterator[int]:
    """The line numbers of one record, in the order their rows were written."""
    return decode_ranges(record["w"]) if record["t"] == "b" else iter(())


def failures_in(record: dict[str, Any]) -> Iterator[tuple[str, Iterator[int]]]:
    """The failed lines of one record by why they failed; those that say nothing come with an empty reason."""
    if record["t"] != "b":
        return
    told: set[int] = set()
    for reason, ranges in record.get("r", {}).items():
        numbers = tuple(decode_ranges(ranges))
        told.update(numbers)
        yield reason, iter(numbers)
    if silent := [number for number in decode_ranges(record.get("f", "")) if number not in told]:
        yield "", iter(silent)


def _batch_from(record: dict[str, Any]) -> BatchRecord:
    numbers: Callable[[str], tuple[int, ...]] = lambda key: tuple(decode_ranges(record.get(key, "")))  # noqa: E731
    return BatchRecord(
        written=numbers("w"),
        failed=numbers("f"),
        skipped=numbers("k"),
        output_bytes=int(record["o"]),
        errors_bytes=int(record["e"]),
        spool_bytes=int(record["s"]),
        next_line=int(record["x"]),
        output_crc=int(record["c"]),
        fed=Fed(*record["in"]),
    )


def encode(record: dict[str, Any]) -> bytes:
    """One line: the checksum of the JSON text, a blank, the JSON text."""
    text = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> dict[str, Any]:
    """Raises RecordError unless the line is whole and its checksum right."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        raise RecordError("torn")
    text = line[9:-1]
    try:
        if int(line[:8], 16) != zlib.crc32(text):
            raise RecordError("its checksum is wrong")
        record = json.loads(text)
    except ValueError as error:
        raise RecordError(str(error)) from error
    if not isinstance(record, dict):
        raise RecordError("no object")
    return record
