"""Short waits of chunks, which an urgent request ends."""

from __future__ import annotations

import threading

__all__ = ["Standing"]


class Standing:
    """Who stands at which queue; one chunk at a time does at each."""

    def __init__(self, stopping: threading.Event) -> None:
        """Nobody waits any more once `stopping` is set and `wake_all` was called."""
        self._stopping = stopping
        self._lock = threading.Lock()
        self._waiting: dict[str, threading.Event] = {}

    def wait(self, queue: str, wait_s: float) -> bool:
        """Stand for `wait_s`, or until woken; returns whether the worker stops."""
        woken = threading.Event()
        with self._lock:
            self._waiting[queue] = woken
        if not self._stopping.is_set():
            woken.wait(wait_s)
        with self._lock:
            del self._waiting[queue]
        return self._stopping.is_set()

    def wake(self, queue: str) -> bool:
        """Let who stands at `queue` go on now; returns whether somebody stood there."""
        with self._lock:
            woken = self._waiting.get(queue)
            if woken is not None:
                woken.set()
        return woken is not None

    def wake_all(self) -> None:
        """Let all go on."""
        with self._lock:
            for woken in self._waiting.values():
                woken.set()
