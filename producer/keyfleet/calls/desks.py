"""The desks of a process's calls: one for all, and one for each name that calls are listed under."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keyfleet.calls.desk import CallDesk
from keyfleet.errors import InvalidRequest
from keyfleet.running.served_models import ServedModels

__all__ = ["CallDesks"]

MOST_NAMED = 32
"""Names in use at a time: each has a job of its own, with two threads and connections. Idle ones make room."""


class CallDesks:
    """For any thread. Desks begin when they are first asked for."""

    def __init__(self, make: Callable[[str], CallDesk]) -> None:
        """`make(name)` makes a desk, which isn't started yet; the empty name is that of the process."""
        self._make = make
        self._lock = threading.Lock()
        self._named: OrderedDict[str, CallDesk] = OrderedDict()
        self._in_use: Counter[CallDesk] = Counter()
        self._served: ServedModels | None = None
        self._is_closed = False
        self.own = make("")

    @contextmanager
    def of(self, name: str) -> Iterator[CallDesk]:
        """The desk of the job called `name`, which stays open as long as this lasts, and as calls that began meanwhile.

        Raises BrokerUnavailable, and InvalidRequest where too many are in use.
        """
        if not name:
            yield self.own
            return
        desk = self._begin_use(name)
        try:
            yield desk
        finally:
            with self._lock:
                self._in_use[desk] -= 1

    def _begin_use(self, name: str) -> CallDesk:
        with self._lock:
            if self._is_closed:
                return self.own  # which says that the fleet was closed
            desk = self._named.get(name)
            if desk is None:
                self._make_room()
                desk = self._named[name] = self._start(name)
            self._named.move_to_end(name)
            self._in_use[desk] += 1
            return desk

    def _start(self, name: str) -> CallDesk:
        desk = self._make(name)
        if self._served is not None:
            desk.serve(self._served)
        desk.start()
        return desk

    def _make_room(self) -> None:
        """An idle desk's end takes a moment, for which nobody shall wait."""
        if len(self._named) < MOST_NAMED:
            return
        idle = next((name for name, desk in self._named.items() if not (desk.waiting or self._in_use[desk])), None)
        if idle is None:
            message = f"job: {MOST_NAMED} names have calls under way; use one of them, or wait"
            raise InvalidRequest(message, code="too_many_jobs", field="job")
        desk = self._named.pop(idle)
        del self._in_use[desk]
        threading.Thread(target=desk.close, name="keyfleet-desk-end", daemon=True).start()

    def serve(self, served: ServedModels) -> None:
        """From now on this is what the keys can do."""
        self._served = served
        for desk in self._all():
            desk.serve(served)

    def close(self) -> None:
        """End what is under way."""
        with self._lock:
            self._is_closed = True
        for desk in self._all():
            desk.close()

    @property
    def has_left_calls(self) -> bool:
        """Whether workers had calls in flight when they were closed."""
        return any(desk.has_left_calls for desk in self._all())

    def _all(self) -> list[CallDesk]:
        with self._lock:
            return [self.own, *self._named.values()]
