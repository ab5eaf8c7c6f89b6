"""Why queues wait at this worker, for those who watch."""

from __future__ import annotations

import threading

from keyfleet.clock import elapsed_s

__all__ = ["Waits"]


class Waits:
    """The present reason and end of each queue's wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[str, tuple[str, float]] = {}

    def note(self, queue: str, reason: str, wait_s: float) -> None:
        """`queue` waits for `wait_s` from now."""
        with self._lock:
            self._waits[queue] = (reason, elapsed_s() + wait_s)

    def clear(self, queue: str) -> None:
        """`queue` waits no more, unless a wait was noted whose end is still to come."""
        with self._lock:
            found = self._waits.get(queue)
            if found and found[1] <= elapsed_s():
                del self._waits[queue]

    def end(self, queue: str) -> None:
        """What `queue` waited for has come."""
        with self._lock:
            self._waits.pop(queue, None)

    def current(self) -> dict[str, tuple[str, float]]:
        """Queue to (reason, seconds until its end) of every wait that has not ended."""
        now_s = elapsed_s()
        with self._lock:
            return {queue: (reason, end_s - now_s) for queue, (reason, end_s) in self._waits.items() if end_s > now_s}
