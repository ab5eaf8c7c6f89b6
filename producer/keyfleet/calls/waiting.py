"""What becomes of calls that wait long: those that nobody can serve end, of the others it is told why they wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from keyfleet.calls.book import Call, CallBook
from keyfleet.calls.unserved import why_unserved
from keyfleet.errors import KeyfleetError
from keyfleet.ledger import model_of
from keyfleet.running.blocked_models import blocked_models
from keyfleet.running.fleet_status import FleetStatus

__all__ = ["WaitWatch"]

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""Interval of looking at the calls that wait (s)."""

SAY_S = 60.0
"""After so long a wait, and again after as much, it is told why a model's calls wait (s)."""


class WaitWatch:
    """To be used by one thread."""

    def __init__(
        self,
        book: CallBook,
        status: Callable[[], FleetStatus],
        end: Callable[[Call, KeyfleetError], None],
        *,
        grace_s: float,
    ) -> None:
        """`end` ends a call with an error. `grace_s` is how long a call waits for a key that serves its model."""
        self._book = book
        self._status = status
        self._end = end
        self._grace_s = grace_s
        self._due_s = 0.0
        self._said_s: dict[str, float] = {}

    def look(self) -> None:
        """Look, if it is time."""
        now_s = time.monotonic()
        if now_s < self._due_s or not len(self._book):
            return
        self._due_s = now_s + LOOK_S
        for queue, calls in self._book.by_queue().items():
            waiting = [call for call in calls if call.is_wanted]
            old = [call for call in waiting if now_s - call.began_s >= self._grace_s]
            error = why_unserved(self._status(), queue) if old else None
            if error is not None:
                for call in old:
                    self._end(call, error)
            elif waiting:
                self._say_why(queue, now_s, now_s - min(call.began_s for call in waiting))

    def _say_why(self, queue: str, now_s: float, waited_s: float) -> None:
        if waited_s < SAY_S or now_s - self._said_s.get(queue, float("-inf")) < SAY_S:
            return
        self._said_s[queue] = now_s
        status = self._status()
        reasons = blocked_models(status, [queue]) or tuple(status.waits({queue})) or ("answers take long",)
        logger.warning("calls of %s have waited for %.0f s: %s", model_of(queue), waited_s, "; ".join(reasons))
