"""Rows that were made without sending anything, on their way from the thread that feeds to the one that writes."""

from __future__ import annotations

import threading

from keyfleet.batch.formats import Row
from keyfleet.contract import Outcome

__all__ = ["LOCAL_BYTES", "LocalRows"]

LOCAL_BYTES = 16 * 1024 * 1024
"""Rows beyond this wait where they are made, so that an input full of errors fills no memory (bytes)."""

ROW_BYTES = 500
"""What a row takes beside its text (bytes)."""


class LocalRows:
    """A queue bounded in bytes; one row is let in however large it is. A row counts until it is written."""

    def __init__(self, size_bytes: int = LOCAL_BYTES) -> None:
        self._most_bytes = size_bytes
        self._changed = threading.Condition()
        self._rows: list[tuple[Row, Outcome | None]] = []
        self._bytes = 0
        self._unwritten = 0
        self._closed = False

    def put(self, row: Row, outcome: Outcome | None) -> None:
        """Add a row, waiting for room."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes < self._most_bytes)
            self._rows.append((row, outcome))
            self._bytes += len(row.data) + ROW_BYTES
            self._unwritten += 1

    def take(self) -> list[tuple[Row, Outcome | None]]:
        """All rows that are there. Say `written` when they are."""
        with self._changed:
            taken, self._rows, self._bytes = self._rows, [], 0
            self._changed.notify_all()
            return taken

    def written(self, count: int) -> None:
        """`count` of the rows that were taken are durable now."""
        with self._changed:
            self._unwritten -= count

    def close(self) -> None:
        """Nobody writes any more: let in what comes, so that nobody waits for ever."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_empty(self) -> bool:
        """Whether every row that was put in is written."""
        return not self._unwritten
