"""Why queues wait at this worker, for those who watch."""

from __future__ import annotations

import threading
import time

__all__ = ["Waits"]


class Waits:
    """The present reason and end of each queue's wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[str, tuple[str, float]] = {}

    def note(self, queue: str, reason: str, wait_s: float) -> None:
        """`queue` waits for `wait_s` from now."""
        with self._lock:
            self._waits[queue] = (reason, time.time() + wait_s)

    def clear(self, queue: str) -> None:
        """`queue` waits no more, unless a wait was noted whose end is still to come."""
        with self._lock:
            found = self._waits.get(queue)
            if found and found[1] <= time.time():
                del self._waits[queue]

    def current(self) -> dict[str, tuple[str, float]]:
        """Queue to (reason, end in seconds since the epoch) of every wait that has not ended."""
        now_s = time.time()
        with self._lock:
            return {queue: wait for queue, wait in self._waits.items() if wait[1] > now_s}
