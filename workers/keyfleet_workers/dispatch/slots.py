"""Call slots: how many calls one worker may have under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from keyfleet.clock import elapsed_s

__all__ = ["CallSlots"]

SLOW_CALL_S = 0.25
"""Calls slower than this wait for the provider, so that more of them at once cost nothing here (s)."""

GROWTH = 0.25
"""By which share the slots grow when they are what holds the key back."""

GATHER_S = 0.004
"""How long whoever found only a few free slots waits for more, so that one round trip serves them all (s)."""

GATHER_SHARE = 0.25
"""As many free slots, as a share of all, are not few."""

LATENCY_WEIGHT = 0.1
"""Weight of the newest call in the mean latency."""


class CallSlots:
    """A counted set of slots that grows from `initial` to `maximum` while calls are slow and slots are short."""

    def __init__(self, initial: int, maximum: int, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._pause = pause
        self._condition = threading.Condition()
        self._size = min(initial, maximum)
        self._maximum = maximum
        self._used = 0
        self._latency_s = 0.0
        self._full_since_s = float("inf")

    @property
    def used(self) -> int:
        """Calls under way."""
        return self._used

    @property
    def size(self) -> int:
        """Calls that may be under way."""
        return self._size

    def is_short(self) -> bool:
        """Whether the slots, at their maximum, are what holds the key back now."""
        return self._size >= self._maximum and self._used >= self._size

    def acquire(self, most: int, timeout_s: float = 0.0) -> int:
        """Take up to `most` slots, at least one; 0 when none gets free within `timeout_s`.

        Where only a few are free, those that get free within a few milliseconds are taken as well.
        """
        got = self._wait_for_some(most, timeout_s)
        if got and got < min(most, int(self._size * GATHER_SHARE)):
            self._pause(GATHER_S)
            with self._condition:
                more = max(0, min(most - got, self._size - self._used))
                self._use(more)
                got += more
        return got

    def _wait_for_some(self, most: int, timeout_s: float) -> int:
        deadline_s = elapsed_s() + timeout_s
        with self._condition:
            while self._used >= self._size and not self._grow():
                left_s = deadline_s - elapsed_s()
                if left_s <= 0:
                    return 0
                self._condition.wait(min(left_s, SLOW_CALL_S))
            got = min(most, self._size - self._used)
            self._use(got)
            return got

    def _use(self, count: int) -> None:
        self._used += count
        if self._used >= self._size:
            self._full_since_s = elapsed_s()

    def release(self, count: int = 1) -> None:
        """Give slots back."""
        with self._condition:
            self._used -= count
            self._full_since_s = float("inf")
            self._condition.notify_all()

    def note_latency(self, latency_s: float) -> None:
        """Take a finished call's latency into the mean."""
        self._latency_s += (latency_s - self._latency_s) * LATENCY_WEIGHT

    def _grow(self) -> bool:
        """Calls are slow where those that ended were, or none of all that are under way has ended for as long."""
        full_s = elapsed_s() - self._full_since_s
        if self._size >= self._maximum or max(self._latency_s, full_s) < SLOW_CALL_S:
            return False
        self._size = min(self._maximum, self._size + max(1, int(self._size * GROWTH)))
        return True
