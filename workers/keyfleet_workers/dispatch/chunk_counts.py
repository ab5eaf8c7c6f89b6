"""What becomes of a chunk's requests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

__all__ = ["ChunkCounts"]


class ChunkCounts:
    """What became of a chunk's requests; `wait` returns when no call is under way any more, `wait_for_answers` when
    those that are have begun to be answered."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._under_way = 0
        self._begun: set[str] = set()
        self._at_end: Callable[[], object] | None = None
        self.ends: Counter[str] = Counter()
        self.tokens = 0
        self.provider_s = 0.0
        """The time of all calls together, in which several are under way at once (s)."""

    def begin(self) -> None:
        with self._condition:
            self._under_way += 1

    def note_beginning(self, key: str) -> None:
        """The answer to the request `key` has begun, and may last."""
        with self._condition:
            self._begun.add(key)
            self._tell()

    def end(self, how: str, requests: int = 1, key: str = "") -> None:
        """A call with so many requests is over, of which `key` is the first."""
        with self._condition:
            self._under_way -= 1
            self._begun.discard(key)
            self.ends[how] += requests
            self._tell()
            tell_end = self._at_end if not self._under_way else None
        if tell_end is not None:
            tell_end()

    def add(self, how: str, requests: int) -> None:
        """So many requests ended without a call."""
        with self._condition:
            self.ends[how] += requests

    def add_call(self, tokens: int, took_s: float) -> None:
        """A call took so long, and its answer reports so many tokens."""
        with self._condition:
            self.tokens += tokens
            self.provider_s += took_s

    def tell_end(self, tell: Callable[[], object]) -> None:
        """Have `tell` called once no call is under way any more, for those who don't wait. To be asked for when all
        have begun."""
        with self._condition:
            self._at_end = tell if self._under_way else None
            is_over = not self._under_way
        if is_over:
            tell()

    def _tell(self) -> None:
        """Waking the chunk's thread for each call would cost as much as a round trip."""
        if len(self._begun) == self._under_way:
            self._condition.notify_all()

    def wait(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._under_way == 0)

    def wait_for_answers(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: len(self._begun) == self._under_way)
