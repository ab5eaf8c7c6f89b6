"""Where each line's row stands in a file of rows, and why lines failed, in memory that doesn't grow."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["ReasonIndex", "RowIndex"]


class RowIndex:
    """The rows of one file by line number, from the order in which they were written; the index lies on disk."""

    def __init__(self, path: Path, written_order: Iterable[int]) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE row (line INTEGER PRIMARY KEY, start INTEGER, length INTEGER)")
        self._file = path.open("rb")
        self._database.executemany("INSERT INTO row VALUES (?, ?, ?)", self._places(written_order))

    def get(self, line_number: int) -> bytes | None:
        found = self._database.execute("SELECT start, length FROM row WHERE line = ?", (line_number,)).fetchone()
        return os.pread(self._file.fileno(), found[1], found[0]) if found else None

    def close(self) -> None:
        self._database.close()
        self._file.close()

    def _places(self, written_order: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        start = 0
        for number, row in zip(written_order, self._file, strict=False):
            yield number, start, len(row)
            start += len(row)


class ReasonIndex:
    """Why lines failed, as several journals say, the later one being right; the index lies on disk."""

    def __init__(self, *failures: Iterable[tuple[str, Iterable[int]]]) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE failure (line INTEGER PRIMARY KEY, reason TEXT)")
        for groups in failures:
            for reason, numbers in groups:
                rows = ((number, reason) for number in numbers)
                self._database.executemany("INSERT OR REPLACE INTO failure VALUES (?, ?)", rows)

    def get(self, line_number: int) -> str:
        found = self._database.execute("SELECT reason FROM failure WHERE line = ?", (line_number,)).fetchone()
        return str(found[0]) if found else ""

    def close(self) -> None:
        self._database.close()
