"""Rows of an ordered output that came before their turn, kept on disk until the rows before them are there."""

from __future__ import annotations

import os
import struct
from collections.abc import Container, Iterable
from pathlib import Path

from keyfleet.batch import durable
from keyfleet.batch.formats import Row
from keyfleet.errors import InputError

__all__ = ["Spool"]

_HEAD = struct.Struct("<QQ")
"""Line number and length of the row's text in bytes, in front of each row."""


class Spool:
    """A file of rows that is only appended to and emptied. In memory: one offset per row that waits.

    What counts of the file is the first `length_bytes`, as the journal says; the rows behind `next_line` wait. While
    it is never quite empty it grows, at the most to the size of the output.
    """

    def __init__(self, path: Path, *, length_bytes: int, next_line: int) -> None:
        self.path = path
        self.length_bytes = length_bytes
        self._fd = -1
        self._offsets: dict[int, int] = {}
        if path.exists():
            self._fd = durable.open_for_append(path)
            self._restore(next_line)
        elif length_bytes:
            raise InputError(f"{path}: is missing, with {length_bytes} bytes of results in it; --overwrite starts anew")

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, rows: Iterable[Row]) -> None:
        """On return the rows are durable, if the journal is told the new length."""
        if self._fd < 0:
            self._fd = durable.open_for_append(self.path)
            durable.sync_directory(self.path.parent)
        pieces: list[bytes] = []
        for row in rows:
            self._offsets[row.line_number] = self.length_bytes
            pieces += (_HEAD.pack(row.line_number, len(row.data)), row.data)
            self.length_bytes += _HEAD.size + len(row.data)
        durable.append(self._fd, b"".join(pieces))
        durable.sync(self._fd)

    def take_run(self, first_line: int, failed: Container[int], *, limit_bytes: int) -> list[Row]:
        """The rows of `first_line` and those right behind it that wait here, up to about `limit_bytes`."""
        rows: list[Row] = []
        taken_bytes = 0
        while taken_bytes < limit_bytes and first_line + len(rows) in self._offsets:
            number = first_line + len(rows)
            offset = self._offsets.pop(number)
            _, length = _HEAD.unpack(os.pread(self._fd, _HEAD.size, offset))
            rows.append(Row(number, number in failed, os.pread(self._fd, length, offset + _HEAD.size)))
            taken_bytes += length
        return rows

    def clear(self) -> None:
        """Empty the file, once the journal says that nothing in it counts."""
        self.length_bytes = 0
        if self._fd >= 0:
            durable.cut(self._fd, 0)

    def close(self, *, remove: bool = False) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if remove:
            durable.remove(self.path)

    def _restore(self, next_line: int) -> None:
        if os.fstat(self._fd).st_size < self.length_bytes:
            raise InputError(f"{self.path}: is shorter than the journal says; --overwrite starts anew")
        durable.cut(self._fd, self.length_bytes)
        offset = 0
        while offset + _HEAD.size <= self.length_bytes:
            number, length = _HEAD.unpack(os.pread(self._fd, _HEAD.size, offset))
            if number >= next_line:
                self._offsets[number] = offset
            offset += _HEAD.size + length
        if offset != self.length_bytes:
            raise InputError(f"{self.path}: is damaged; --overwrite starts anew")
