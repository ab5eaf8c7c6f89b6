"""Reading a JSONL input line by line: a file, gzip or standard input, in memory that doesn't depend on its size."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

from keyfleet.errors import InputError

__all__ = [
    "LINE_BYTES_MAX",
    "STANDARD_INPUT",
    "Fed",
    "InputLine",
    "InputLines",
    "new_fingerprint",
    "open_input",
    "open_stream",
]

STANDARD_INPUT = "-"
"""The name that means standard input."""
LINE_BYTES_MAX = 64 * 1024 * 1024
"""A longer line is read past and reported instead of being held."""
OVERSIZED_HEAD_BYTES = 1024
"""What is kept of a line that is too long, in bytes."""
PIECE_BYTES = 1024 * 1024
"""Buffer size, and the piece in which a line that is too long is read past."""

_Source: TypeAlias = "io.BufferedReader[io.FileIO] | io.BufferedReader[_Unclosed]"
_GZIP_MAGIC = b"\x1f\x8b"
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class InputLine:
    """One physical line. `number` counts from 1, blank lines too.

    `offset` and `end_offset` are bytes in the decompressed stream: the line's start, and the start of the next line.
    `raw` is without line end and byte order mark. Of an `oversized` line it is only the head.
    """

    number: int
    offset: int
    end_offset: int
    raw: bytes = field(repr=False)
    blank: bool = False
    oversized: bool = False


@dataclass(frozen=True, slots=True)
class Fed:
    """How far the input was read: `offset` bytes of the decompressed stream, their last line's number, their hash."""

    offset: int
    line_number: int
    digest: str


def new_fingerprint() -> hashlib.blake2b:
    """The hash over an input's decompressed bytes; what it finds is a changed file, not an attacker's."""
    return hashlib.blake2b(digest_size=16)


class InputLines:
    """The lines of one input, once, in order. To be used by one thread; `read_at` may belong to the same one only.

    `resumable` is False for standard input and pipes, which can't be read a second time. `seekable` is True where
    `read_at` works: plain files. `total_bytes` and `position_bytes` speak of the file as it is on disk (compressed,
    if it is) and serve progress; the total is None for standard input and pipes.
    """

    def __init__(self, name: str, stream: BinaryIO, source: BinaryIO, path: Path | None) -> None:
        self.name = name
        self._stream = stream
        self._source = source
        self._path = path
        self.resumable = path is not None
        self.seekable = path is not None and stream is source
        self.total_bytes = path.stat().st_size if path is not None else None
        self._number = 0
        self._end = 0
        self._hash = new_fingerprint()
        self._pending: deque[InputLine] = deque()
        self._again: BinaryIO | None = None

    @property
    def position_bytes(self) -> int:
        return self._source.tell() if self.total_bytes is not None else self._end

    @property
    def is_at_end(self) -> bool:
        """Whether there are no more lines, once the iteration gave none: one that is still written may get some."""
        return True

    def __iter__(self) -> Iterator[InputLine]:
        return self

    def __next__(self) -> InputLine:
        """Raises InputError where the input can't be read on (a gzip file that is cut off, say)."""
        if self._pending:
            return self._pending.popleft()
        line = self._read_line()
        if line is None:
            raise StopIteration
        return line

    def first_line(self) -> InputLine | None:
        """The first line that isn't blank, without taking it from the iteration (None: there is none).

        Ask before iterating. `fingerprint_at` then speaks of this line until it is passed.
        """
        while not self._pending or self._pending[-1].blank:
            line = self._read_line()
            if line is None:
                return None
            self._pending.append(line)
        return self._pending[-1]

    def fingerprint_at(self) -> Fed:
        """Where reading stands, after the last line that was read."""
        return Fed(self._end, self._number, self._hash.copy().hexdigest())

    def read_at(self, offset: int, end_offset: int) -> bytes:
        """The `raw` of a line seen before, where `seekable`. Raises InputError if the file has become shorter."""
        if not self.seekable or self._path is None:
            raise InputError(f"{self.name}: can't be read at an offset; only plain files can")
        if self._again is None:
            self._again = self._path.open("rb")
        wire = os.pread(self._again.fileno(), end_offset - offset, offset)
        if len(wire) != end_offset - offset:
            raise InputError(f"{self.name}: became shorter while it was read")
        return _without_ends(wire, offset)

    def close(self) -> None:
        for stream in (self._stream, self._source, self._again):
            if stream is not None:
                stream.close()

    def __enter__(self) -> InputLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_line(self) -> InputLine | None:
        wire = self._readline(LINE_BYTES_MAX + 1)
        if not wire:
            return None
        start, oversized = self._end, len(wire) > LINE_BYTES_MAX and not wire.endswith(b"\n")
        self._took(wire)
        if oversized:
            head, last = wire[:OVERSIZED_HEAD_BYTES], wire
            while last and not last.endswith(b"\n"):
                last = self._readline(PIECE_BYTES)
                self._took(last)
            wire = head
        self._number += 1
        raw = _without_ends(wire, start)
        return InputLine(self._number, start, self._end, raw, not oversized and not raw.strip(), oversized)

    def _took(self, wire: bytes) -> None:
        self._hash.update(wire)
        self._end += len(wire)

    def _readline(self, limit_bytes: int) -> bytes:
        try:
            return self._stream.readline(limit_bytes)
        except (OSError, EOFError, zlib.error) as error:
            what = "is no complete gzip file" if self._stream is not self._source else "can't be read"
            raise InputError(f"{self.name}: {what} after line {self._number}: {error}") from error


def _without_ends(wire: bytes, offset: int) -> bytes:
    if wire.endswith(b"\n"):
        wire = wire[:-2] if wire.endswith(b"\r\n") else wire[:-1]
    elif wire.endswith(b"\r"):
        wire = wire[:-1]
    return wire.removeprefix(_UTF8_BOM) if offset == 0 else wire


def open_stream(name: str) -> tuple[BinaryIO, BinaryIO, Path | None]:
    """(decompressed bytes, bytes as they are stored, path or None where the input can't be read twice).

    Raises InputError for what is missing, a directory, unreadable, UTF-16, or `.gz` in name only.
    """
    source, path = _open_source(name)
    try:
        magic = source.peek(4)[:4] if path is None else os.pread(source.fileno(), 4, 0)
        if magic.startswith(_GZIP_MAGIC):
            return io.BufferedReader(gzip.GzipFile(fileobj=source, mode="rb"), PIECE_BYTES), source, path
        if magic.startswith(_UTF16_BOMS):
            raise InputError(f"{name}: is UTF-16 text; expected UTF-8")
        if magic and name.endswith(".gz"):
            raise InputError(f"{name}: is named .gz but isn't gzip")
    except OSError as error:
        source.close()
        raise InputError(f"{name}: can't be read: {error.strerror}") from error
    except InputError:
        source.close()
        raise
    return source, source, path


def _open_source(name: str) -> tuple[_Source, Path | None]:
    if name == STANDARD_INPUT:
        return io.BufferedReader(_Unclosed(sys.stdin.buffer), PIECE_BYTES), None
    try:
        source = io.BufferedReader(io.FileIO(name, "rb"), PIECE_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no such input file") from error
    except OSError as error:
        raise InputError(f"{name}: can't be read: {error.strerror}") from error
    regular = stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    return source, Path(name) if regular else None


class _Unclosed(io.RawIOBase):
    """Standard input as a raw stream whose closing leaves standard input open."""

    def __init__(self, source: BinaryIO) -> None:
        self._read: Callable[[int], bytes] = getattr(source, "read1", source.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed's Buffer needs 3.12
        piece = self._read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def open_input(name: str) -> InputLines:
    """The lines of a file, of a `.gz` file, or of standard input (`-`). Raises InputError; see `open_stream`."""
    stream, source, path = open_stream(name)
    return InputLines(STANDARD_INPUT if name == STANDARD_INPUT else name, stream, source, path)
