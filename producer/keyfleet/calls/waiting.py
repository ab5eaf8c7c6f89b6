"""What becomes of calls that wait long: those that nobody can serve end, of the others it is told why they wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from keyfleet.calls.book import Call, CallBook
from keyfleet.calls.unserved import why_unserved
from keyfleet.errors import DeadlineExceeded, RequestFailed
from keyfleet.ledger import model_of
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.local_workers import LocalWorkers
from keyfleet.running.wait_reasons import why_waiting

__all__ = ["WORKERS_ENDED", "WaitWatch"]

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""Interval of looking at the calls that wait (s)."""

SAY_S = 60.0
"""After so long a wait, and again after as much, it is told why a model's calls wait (s)."""

WORKERS_ENDED = "workers_ended"
"""Code of the error where the fleet's own workers have ended."""


class WaitWatch:
    """To be used by one thread."""

    def __init__(
        self,
        book: CallBook,
        status: Callable[[], FleetStatus | None],
        own_workers: Callable[[], LocalWorkers | None],
        take_back: Callable[[Call], None],
        *,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`status` None: nothing is known of the workers now. `own_workers` are those that were started here.
        `take_back` is given calls that are unserved. `grace_s` is how long a model may be without a worker whose key
        serves it."""
        self._book = book
        self._status = status
        self._own_workers = own_workers
        self._take_back = take_back
        self._grace_s = grace_s
        self._clock = clock
        self._due_s = float("-inf")
        self._unserved_s: dict[str, float] = {}
        self._said_s: dict[str, float] = {}

    def look(self) -> None:
        """Look, if it is time."""
        now_s = self._clock()
        if now_s < self._due_s:
            return
        self._due_s = now_s + LOOK_S
        queues = self._book.by_queue()
        for known in (self._unserved_s, self._said_s):
            for queue in known.keys() - queues.keys():
                del known[queue]
        status, workers = self._status(), self._own_workers()
        for queue, calls in queues.items():
            waiting = [call for call in calls if call.is_wanted and not call.has_begun]
            self._end_late([call for call in waiting if _is_overdue(call, now_s)])
            if workers is not None and workers.has_failed():
                self._end(waiting, _ended(workers))
            elif waiting:
                self._look_at(queue, waiting, status, workers, now_s)

    def _look_at(
        self, queue: str, waiting: list[Call], status: FleetStatus | None, workers: LocalWorkers | None, now_s: float
    ) -> None:
        """Time counts from when the model was first seen unserved, and begins anew where that isn't known."""
        is_starting = workers is not None and status is not None and not (status.workers or status.left)
        why = None if status is None or is_starting else why_unserved(status, queue)
        if why is None:
            self._unserved_s.pop(queue, None)
            self._say_why(queue, status, now_s, now_s - min(call.began_s for call in waiting))
        elif now_s - self._unserved_s.setdefault(queue, now_s) >= self._grace_s:
            self._end(waiting, why)

    def _end(self, calls: list[Call], make_error: Callable[[], RequestFailed]) -> None:
        for call in calls:
            call.unserved = make_error
            self._take_back(call)

    def _end_late(self, calls: list[Call]) -> None:
        for call in calls:
            call.is_late = True
        self._end(calls, _not_started)

    def _say_why(self, queue: str, status: FleetStatus | None, now_s: float, waited_s: float) -> None:
        if waited_s < SAY_S or now_s - self._said_s.get(queue, float("-inf")) < SAY_S:
            return
        self._said_s[queue] = now_s
        logger.warning("calls of %s have waited for %.0f s: %s", model_of(queue), waited_s, why_waiting(status, queue))


def _is_overdue(call: Call, now_s: float) -> bool:
    return call.start_by_s is not None and now_s > call.start_by_s


def _not_started() -> DeadlineExceeded:
    return DeadlineExceeded("the request could not be started in the time that it may wait")


def _ended(workers: LocalWorkers) -> Callable[[], RequestFailed]:
    message = f"the workers have ended: {workers.last_words() or 'their log is empty'}"
    return lambda: RequestFailed(message, code=WORKERS_ENDED)
