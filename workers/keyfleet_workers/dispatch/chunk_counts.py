"""What becomes of a chunk's requests."""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["ChunkCounts"]


class ChunkCounts:
    """What became of a chunk's requests; `wait` returns when no call is under way any more."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._under_way = 0
        self.ends: Counter[str] = Counter()

    def begin(self) -> None:
        with self._condition:
            self._under_way += 1

    def end(self, how: str, requests: int = 1) -> None:
        """A call with so many requests is over."""
        with self._condition:
            self._under_way -= 1
            self.ends[how] += requests
            if not self._under_way:  # waking the chunk's thread for each call would cost as much as a round trip
                self._condition.notify_all()

    def wait(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._under_way == 0)
