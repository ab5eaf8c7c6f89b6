"""Why queues wait at this worker, for those who watch."""

from __future__ import annotations

import threading
from collections import defaultdict

from keyfleet.clock import elapsed_s

__all__ = ["Waits"]


class Waits:
    """The present reason and end of each queue's wait, and how long waits for each class of reasons have lasted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[str, tuple[str, float]] = {}
        self._classes: dict[str, tuple[str, float]] = {}
        self._lasted_s: defaultdict[tuple[str, str], float] = defaultdict(float)

    def note(self, queue: str, reason: str, wait_s: float, reason_class: str = "other") -> None:
        """`queue` waits for `wait_s` from now. `reason_class` is one of few words, whatever the reason says."""
        with self._lock:
            self._add_up(queue)
            self._waits[queue] = (reason, elapsed_s() + wait_s)
            self._classes[queue] = (reason_class, elapsed_s())

    def clear(self, queue: str) -> None:
        """`queue` waits no more, unless a wait was noted whose end is still to come."""
        with self._lock:
            found = self._waits.get(queue)
            if found and found[1] <= elapsed_s():
                self._add_up(queue)
                del self._waits[queue], self._classes[queue]

    def end(self, queue: str) -> None:
        """What `queue` waited for has come."""
        with self._lock:
            self._add_up(queue)
            self._waits.pop(queue, None)
            self._classes.pop(queue, None)

    def current(self) -> dict[str, tuple[str, float]]:
        """Queue to (reason, seconds until its end) of every wait that has not ended."""
        now_s = elapsed_s()
        with self._lock:
            return {queue: (reason, end_s - now_s) for queue, (reason, end_s) in self._waits.items() if end_s > now_s}

    def classes(self) -> frozenset[tuple[str, str]]:
        """(queue, class of its reason) of every wait that has not ended."""
        now_s = elapsed_s()
        with self._lock:
            return frozenset(
                (queue, self._classes[queue][0]) for queue, (_, end_s) in self._waits.items() if end_s > now_s
            )

    def lasted_s(self) -> dict[tuple[str, str], float]:
        """How long waits have lasted in all, present ones up to now, by queue and class of their reasons (s)."""
        with self._lock:
            for queue in self._waits:
                self._add_up(queue)
            return dict(self._lasted_s)

    def _add_up(self, queue: str) -> None:
        """Count what has passed of a wait, up to its end."""
        if queue in self._waits:
            reason_class, since_s = self._classes[queue]
            until_s = min(elapsed_s(), self._waits[queue][1])
            if until_s > since_s:
                self._lasted_s[queue, reason_class] += until_s - since_s
                self._classes[queue] = (reason_class, until_s)
