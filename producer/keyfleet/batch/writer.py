"""Writing each line's row exactly once, whatever happens in between.

Rows are appended and synced, then a journal record of them is appended and synced. What a kill leaves behind the last
record is cut off when the job is opened again; what is recorded is never written a second time. Ordered outputs go
through a spool: a row that came before its turn is durable there, and is copied when the rows before it are written.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from keyfleet.batch import durable
from keyfleet.batch.formats import Row
from keyfleet.batch.job_paths import JobPaths
from keyfleet.batch.journal import Journal
from keyfleet.batch.journal_state import BatchRecord
from keyfleet.batch.lines import Fed
from keyfleet.batch.spool import Spool
from keyfleet.errors import DiskFull, InputError

__all__ = ["ORDERED_LOOKAHEAD_LINES", "ResultWriter", "check_recorded"]

ORDERED_LOOKAHEAD_LINES = 100_000
"""How many lines may be fed beyond the first unwritten one of an ordered output; about 12 MB of memory at the most."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""Errors that are over when somebody makes room."""
RELEASE_PIECE_BYTES = 8 * 1024 * 1024
"""Spooled rows are copied to the output in pieces of about this size, so that memory stays flat."""


class ResultWriter:
    """Appends rows to a job's files. To be used by one thread, except `lookahead_end`, which any may read.

    Opening cuts the files back to what the journal has recorded; call `check_recorded` before. Raises InputError when
    a file can't be written; the writer is of no use then, but opening the job again goes on where it stands.
    """

    def __init__(self, paths: JobPaths, journal: Journal) -> None:
        self._paths = paths
        self._journal = journal
        self._ordered = journal.state.header.ordered
        self._broken = False
        self._is_cut_short = False
        self._errors_fd = -1
        self._output_fd = -1
        self._spool: Spool | None = None
        try:
            self._open_files()
        except OSError as error:
            self.close()
            raise self._failed(error) from error

    @property
    def lookahead_end(self) -> int | None:
        """Only lines with a smaller number may be fed now; None if the output isn't ordered."""
        return self._journal.state.next_line + ORDERED_LOOKAHEAD_LINES if self._ordered else None

    def write(self, rows: Iterable[Row], fed: Fed) -> int:
        """Make the rows durable and return how many were new; a row for a line that has one already is dropped.

        `fed` is where reading stands, at or behind every line in `rows` that this run has fed. An ordered output
        needs a row for every line of the input, a `blank_row` for those that have none.

        Raises DiskFull, after which the same rows may be written again, and InputError.
        """
        fresh = self._fresh(rows)
        if not fresh:
            return 0
        if self._broken:
            raise InputError(f"{self._paths.output}: writing failed before; start the same command again")
        try:
            if self._is_cut_short:
                self._mend()
            direct, early = self._arranged(fresh)
            self._commit(fresh, direct, early, fed)
            self._release(fed)
        except OSError as error:
            if error.errno in FULL_DISK:
                self._is_cut_short = True
                raise DiskFull(
                    f"{self._paths.output.absolute().parent} is full ({error.strerror}); it goes on when there is room"
                ) from error
            raise self._failed(error) from error
        except BaseException:
            self._broken = True
            raise
        return len(fresh)

    def finish(self, fed: Fed) -> None:
        """Every line up to `fed` has its row: the job is done."""
        if self._spool is not None and len(self._spool):
            missing = self._journal.state.next_line
            raise InputError(f"{self._paths.output}: line {missing} has no result, but lines behind it have")
        try:
            if self._spool is not None:
                self._spool.close(remove=True)
            self._journal.append_done(fed)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        for fd in (self._output_fd, self._errors_fd):
            if fd >= 0:
                os.close(fd)
        self._output_fd = self._errors_fd = -1
        if self._spool is not None:
            self._spool.close()

    def _mend(self) -> None:
        """After a disk was full: go back to what the journal has recorded, as a new start would."""
        self._journal.cut_back()
        self.close()
        self._open_files()
        self._is_cut_short = False

    def _open_files(self) -> None:
        state = self._journal.state
        self._output_fd = durable.open_for_append(self._paths.output)
        durable.cut(self._output_fd, state.output_bytes)
        if self._paths.errors is not None:
            if state.errors_bytes:
                self._errors_fd = durable.open_for_append(self._paths.errors)
                durable.cut(self._errors_fd, state.errors_bytes)
            else:
                durable.remove(self._paths.errors)
        if self._ordered:
            self._spool = Spool(self._paths.spool, length_bytes=state.spool_bytes, next_line=state.next_line)
        else:
            durable.remove(self._paths.spool)
        durable.sync_directory(self._paths.output.parent)
        self._release(state.fed)

    def _fresh(self, rows: Iterable[Row]) -> list[Row]:
        written = self._journal.state.written
        fresh: dict[int, Row] = {}
        for row in rows:
            if row.line_number not in written:
                fresh.setdefault(row.line_number, row)
        return list(fresh.values())

    def _arranged(self, fresh: list[Row]) -> tuple[list[Row], list[Row]]:
        """(rows that go to the output now, in order; rows that are too early)."""
        if not self._ordered:
            return fresh, []
        direct: list[Row] = []
        early: list[Row] = []
        next_line = self._journal.state.next_line
        for row in sorted(fresh, key=lambda row: row.line_number):
            is_next = row.line_number == next_line + len(direct)
            (direct if is_next else early).append(row)
        return direct, early

    def _release(self, fed: Fed) -> None:
        while self._spool is not None:
            state = self._journal.state
            rows = self._spool.take_run(state.next_line, state.failed, limit_bytes=RELEASE_PIECE_BYTES)
            if not rows:
                return
            self._commit((), rows, (), fed)

    def _commit(self, fresh: Sequence[Row], direct: Sequence[Row], early: Sequence[Row], fed: Fed) -> None:
        """Rows first, the record last. `fresh` are those that are durable from now on, wherever they are put."""
        state = self._journal.state
        if early and self._spool is not None:
            self._spool.append(early)
        apart = self._paths.errors is not None
        to_output = b"".join(row.data for row in direct if not (row.failed and apart))
        to_errors = b"".join(row.data for row in direct if row.failed and apart)
        self._append_rows(to_output, to_errors)
        spool_bytes = self._spool.length_bytes if self._spool is not None and len(self._spool) else 0
        self._journal.append_batch(
            BatchRecord(
                written=tuple(row.line_number for row in fresh if row.data),
                failed=tuple(row.line_number for row in fresh if row.failed),
                skipped=tuple(row.line_number for row in fresh if not row.data),
                output_bytes=state.output_bytes + len(to_output),
                errors_bytes=state.errors_bytes + len(to_errors),
                spool_bytes=spool_bytes,
                next_line=state.next_line + len(direct) if self._ordered else 1,
                output_crc=zlib.crc32(to_output),
                fed=fed,
                reasons=_reasons_of(fresh),
            )
        )
        if self._spool is not None and self._spool.length_bytes and not spool_bytes:
            self._spool.clear()

    def _append_rows(self, to_output: bytes, to_errors: bytes) -> None:
        if to_output:
            durable.append(self._output_fd, to_output)
            durable.sync(self._output_fd)
        if to_errors and self._paths.errors is not None:
            if self._errors_fd < 0:
                self._errors_fd = durable.open_for_append(self._paths.errors)
                durable.sync_directory(self._paths.errors.parent)
            durable.append(self._errors_fd, to_errors)
            durable.sync(self._errors_fd)

    def _failed(self, error: OSError) -> InputError:
        self._broken = True
        reason = error.strerror or str(error)
        return InputError(f"{self._paths.output}: can't be written: {reason}; the same command goes on from here")


def _reasons_of(rows: Iterable[Row]) -> dict[str, list[int]]:
    reasons: dict[str, list[int]] = {}
    for row in rows:
        if row.failed and row.reason:
            reasons.setdefault(row.reason, []).append(row.line_number)
    return reasons


def check_recorded(paths: JobPaths, journal: Journal) -> None:
    """Raises InputError if a file no longer holds what the journal has recorded; changes nothing."""
    state = journal.state
    _check_length(paths.output, state.output_bytes)
    if paths.errors is not None:
        _check_length(paths.errors, state.errors_bytes)
    if state.header.ordered:
        _check_length(paths.spool, state.spool_bytes)
    if state.last_group is None:
        return
    start, end, crc = state.last_group
    found = 0
    with paths.output.open("rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(end - start, RELEASE_PIECE_BYTES))):
            found = zlib.crc32(piece, found)
            start += len(piece)
    if found != crc:
        raise InputError(f"{paths.output}: was changed since keyfleet wrote it; --overwrite starts anew")


def _check_length(path: Path, recorded_bytes: int) -> None:
    found_bytes = path.stat().st_size if path.exists() else 0
    if found_bytes < recorded_bytes:
        raise InputError(
            f"{path}: has {found_bytes} bytes, but {recorded_bytes} were written to it: it was changed or moved away; "
            "bring it back, or start anew with --overwrite"
        )
