"""The calls that somebody waits for, by id."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from keyfleet.contract import Outcome, Request
from keyfleet.ledger import JobOptions, queue_of

__all__ = ["Call", "CallBook"]


@dataclass(slots=True, eq=False)
class Call:
    """One call. `until_s` is the end of its time on the monotonic clock; None: there is none.

    `ended` brings its outcome. `withdrawn` tells, once its caller is gone, whether it may have been sent.
    """

    request: Request
    options: JobOptions
    until_s: float | None = None
    began_s: float = field(default_factory=time.monotonic)
    is_accepted: bool = False
    is_abandoned: bool = False
    ended: Future[Outcome] = field(default_factory=Future)
    withdrawn: Future[bool] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.ended.set_running_or_notify_cancel()  # else whoever waits for it could cancel it under its writer's hands

    @property
    def queue(self) -> str:
        """The queue of its model."""
        return queue_of(self.request.model)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not (self.is_abandoned or self.ended.done())


class CallBook:
    """For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        """A call begins."""
        with self._lock:
            self._calls[call.request.id] = call

    def get(self, call_id: str) -> Call | None:
        """The call of this id, if it is under way."""
        return self._calls.get(call_id)

    def remove(self, call_id: str) -> Call | None:
        """A call is over; None where it was before."""
        with self._lock:
            return self._calls.pop(call_id, None)

    def all(self) -> list[Call]:
        """The calls under way."""
        with self._lock:
            return list(self._calls.values())

    def by_queue(self) -> dict[str, list[Call]]:
        """The calls under way, by queue."""
        found: dict[str, list[Call]] = {}
        for call in self.all():
            found.setdefault(call.queue, []).append(call)
        return found
