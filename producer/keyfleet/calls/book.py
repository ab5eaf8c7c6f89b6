"""The calls that somebody waits for, by id."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from keyfleet.calls.stream import CallStream
from keyfleet.contract import STREAM_BROKEN, Outcome, Request
from keyfleet.errors import KeyfleetError, StreamBroken
from keyfleet.ledger import JobOptions, queue_of

__all__ = ["Call", "CallBook"]


@dataclass(slots=True, eq=False)
class Call:
    """One call. `until_s` is the end of its time on the monotonic clock, `start_by_s` that of waiting to be started;
    None: there is none. `stream` takes the pieces of an answer that comes in such.

    `ended` brings its outcome. `withdrawn` tells, once its caller is gone, whether it may have been sent; `was_tried`
    that the server may know it, `is_accepted` that it does.
    """

    request: Request
    options: JobOptions
    until_s: float | None = None
    start_by_s: float | None = None
    began_s: float = field(default_factory=time.monotonic)
    was_tried: bool = False
    is_accepted: bool = False
    is_abandoned: bool = False
    unserved: Callable[[], KeyfleetError] | None = None
    """Makes the error with which it ends if it can be taken back: nobody will ever start it, or not in time."""
    is_late: bool = False
    """Whether it is taken back only if it was never sent: its time to wait for that is over."""
    ended: Future[Outcome] = field(default_factory=Future)
    withdrawn: Future[bool] = field(default_factory=Future)
    stream: CallStream | None = None

    def __post_init__(self) -> None:
        for future in (self.ended, self.withdrawn):
            future.set_running_or_notify_cancel()  # else whoever waits could cancel it under its writer's hands

    @property
    def queue(self) -> str:
        """The queue of its model."""
        return queue_of(self.request.model)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not (self.is_abandoned or self.ended.done())

    @property
    def may_be_sent(self) -> bool:
        """Whether it may have been sent, once its caller is gone, as far as that is known by now."""
        return self.withdrawn.result() if self.withdrawn.done() else self.was_tried

    def end(self, outcome: Outcome) -> None:
        """It is over; where it is already, nothing changes. For any thread, as the following are."""
        if outcome.pieces > (self.stream.number if self.stream is not None else 0):
            self.fail(StreamBroken("the end of the answer was lost on its way", attempts=outcome.attempts))
            return
        with suppress(InvalidStateError):
            self.ended.set_result(outcome)
            self._end_stream(_why_broken(outcome))

    def fail(self, error: Exception) -> None:
        """It is over, without an outcome."""
        with suppress(InvalidStateError):
            self.ended.set_exception(error)
            self._end_stream(error)

    def _end_stream(self, error: Exception | None) -> None:
        if self.stream is not None:
            self.stream.end(error)

    @property
    def has_begun(self) -> bool:
        """Whether a part of its answer has come."""
        return self.stream is not None and self.stream.has_begun

    def note_withdrawn(self, may_be_sent: bool) -> None:
        """It is known whether it may have been sent."""
        with suppress(InvalidStateError):
            self.withdrawn.set_result(may_be_sent)


def _why_broken(outcome: Outcome) -> Exception | None:
    if outcome.ok:
        return None
    last = outcome.errors[-1] if outcome.errors else None
    is_told = last is not None and last.code == STREAM_BROKEN
    message = last.message if last is not None and is_told else "the worker was lost in the midst of the answer"
    return StreamBroken(message, attempts=outcome.attempts, errors=outcome.errors)


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
