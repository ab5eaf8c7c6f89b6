"""The desks of a process's calls: one for all, and one for each name that calls are listed under."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

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
        self._served: ServedModels | None = None
        self._is_closed = False
        self.own = make("")

    def get(self, name: str) -> CallDesk:
        """The desk of the job called `name`. Raises BrokerUnavailable, and InvalidRequest where too many are in use."""
        if not name or self._is_closed:
            return self.own
        with self._lock:
            desk = self._named.get(name)
            if desk is None:
                self._make_room()
                desk = self._make(name)
                if self._served is not None:
                    desk.serve(self._served)
                desk.start()
                self._named[name] = desk
            self._named.move_to_end(name)
            return desk

    def _make_room(self) -> None:
        if len(self._named) < MOST_NAMED:
            return
        idle = next((name for name, desk in self._named.items() if not desk.waiting), None)
        if idle is None:
            message = f"job: {MOST_NAMED} names have calls under way; use one of them, or wait"
            raise InvalidRequest(message, code="too_many_jobs", field="job")
        self._named.pop(idle).close()

    def serve(self, served: ServedModels) -> None:
        """From now on this is what the keys can do."""
        self._served = served
        for desk in self._all():
            desk.serve(served)

    def close(self) -> None:
        """End what is under way."""
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
