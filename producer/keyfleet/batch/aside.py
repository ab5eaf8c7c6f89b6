"""Lines set aside while their model can't go on, first in first out, on disk."""

from __future__ import annotations

import os
import struct
import tempfile
from typing import BinaryIO

from keyfleet.batch.lines import InputLine, InputLines
from keyfleet.errors import InputError

__all__ = ["AsideQueue"]

_PLACE = struct.Struct("<QQQ")
"""Line number, offset and end offset in bytes. For inputs that can't be read again, the raw line follows."""


class AsideQueue:
    """A queue of lines, in no memory to speak of. To be used by the thread that reads `lines`.

    Of a plain file it keeps places and reads the lines again; of standard input and gzip it keeps the lines. The file
    has no name, so it is gone with the process, and is emptied whenever the queue is.
    """

    def __init__(self, lines: InputLines) -> None:
        self._lines = lines
        self._file: BinaryIO | None = None
        self._read_at = 0
        self._write_at = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """How much room it takes on disk."""
        return self._write_at

    def push(self, line: InputLine) -> None:
        """Add a line. Raises InputError where the temporary directory can't be written, as its disk may be full."""
        try:
            self._append(line)
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: lines can't be set aside there: {error.strerror}; make room or set TMPDIR, "
                "and the same command goes on from here"
            ) from error

    def _append(self, line: InputLine) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="keyfleet-", buffering=0)  # noqa: SIM115 # closed in close()
        data = _PLACE.pack(line.number, line.offset, line.end_offset)
        if not self._lines.seekable:
            data += struct.pack("<Q", len(line.raw)) + line.raw
        while data:
            written = os.pwrite(self._file.fileno(), data, self._write_at)
            self._write_at += written
            data = data[written:]
        self._count += 1

    def peek(self) -> InputLine | None:
        """The line that `pop` would give."""
        return self._next()[0] if self._count else None

    def pop(self) -> InputLine | None:
        """The line that was set aside first, or None. Raises InputError if the input has become shorter."""
        if not self._count:
            return None
        line, self._read_at = self._next()
        self._count -= 1
        if not self._count and self._file is not None:
            self._read_at = self._write_at = 0
            self._file.truncate(0)
        return line

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._count = self._read_at = self._write_at = 0

    def _next(self) -> tuple[InputLine, int]:
        number, offset, end_offset = _PLACE.unpack(self._pread(_PLACE.size, self._read_at))
        behind = self._read_at + _PLACE.size
        if self._lines.seekable:
            return InputLine(number, offset, end_offset, self._lines.read_at(offset, end_offset)), behind
        (length,) = struct.unpack("<Q", self._pread(8, behind))
        return InputLine(number, offset, end_offset, self._pread(length, behind + 8)), behind + 8 + length

    def _pread(self, length: int, offset: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset) if self._file is not None else b""
