"""The sum of what fell into a trailing window."""

from __future__ import annotations

from collections import deque

__all__ = ["TrailingSum"]


class TrailingSum:
    """What was added in the half-open window (now - window, now]; something of age `window_ns` is out.

    Exact, with one entry per addition, so memory is bounded by the additions of one window. Times are given in
    nanoseconds and must not go back.
    """

    __slots__ = ("_entries", "_window_ns", "total")

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._entries: deque[tuple[int, int]] = deque()
        self.total = 0

    def expire(self, now_ns: int) -> int:
        """Drop what has left the window, and return what remains."""
        entries = self._entries
        oldest_ns = now_ns - self._window_ns
        while entries and entries[0][0] <= oldest_ns:
            self.total -= entries.popleft()[1]
        return self.total

    def add(self, now_ns: int, amount: int) -> int:
        """Add `amount` now, and return the sum of the window with it."""
        self._entries.append((now_ns, amount))
        self.total += amount
        return self.expire(now_ns)

    def wait_until_below_ns(self, now_ns: int, ceiling: int) -> int:
        """Nanoseconds until the sum is at most `ceiling` (0 or more) if nothing more is added."""
        excess = self.expire(now_ns) - ceiling
        wait_ns = 0
        for at_ns, amount in self._entries:
            if excess <= 0:
                break
            excess -= amount
            wait_ns = at_ns + self._window_ns - now_ns
        return wait_ns

    def empty_after_ns(self, now_ns: int) -> int:
        """Nanoseconds until the window is empty if nothing more is added."""
        self.expire(now_ns)
        return self._entries[-1][0] + self._window_ns - now_ns if self._entries else 0
