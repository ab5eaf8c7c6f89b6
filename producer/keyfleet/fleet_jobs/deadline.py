"""A job's deadline: until when its requests may be started, and what becomes of those that could not be."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import redis

from keyfleet.batch.parse import ParsedLine
from keyfleet.checked_json import Fields
from keyfleet.contract import DEADLINE_EXCEEDED, AttemptError, Outcome, Request
from keyfleet.errors import ConfigurationError, InvalidRequest, MalformedEntry
from keyfleet.ledger import JobLedger, Withdrawn
from keyfleet.ledger.codec import decode_attempts, request_key
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.feeder import Admits
from keyfleet.running.window import Window

__all__ = ["Expiry", "JobAdmission", "deadline_s_of"]

LATE = "it could not be started before the deadline of its job"

WITHDRAW_AT_ONCE = 100
"""Requests taken back in one round trip, which brings their bodies."""

LOOK_S = 0.5
"""Interval of taking back what came back unsent or failed after the deadline (s)."""


def deadline_s_of(deadline: float | datetime | None, now_s: float) -> float | None:
    """A deadline as seconds since the epoch, given as seconds from now or as a time. Raises ConfigurationError."""
    if deadline is None:
        return None
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise ConfigurationError("deadline: expected a time with a time zone, as hosts differ", setting="deadline")
        return deadline.timestamp()
    if isinstance(deadline, bool) or not isinstance(deadline, int | float) or not 0 < deadline < math.inf:
        raise ConfigurationError(
            "deadline: expected seconds from now, above 0, or a datetime with a time zone", setting="deadline"
        )
    return now_s + deadline


class JobAdmission:
    """Makes requests as `inner` does, and gives them what their job says of all of them."""

    def __init__(
        self,
        inner: Admits,
        *,
        urgent: bool,
        deadline_s: float | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells seconds since the epoch."""
        self._inner = inner
        self._urgent = urgent
        self._deadline_s = deadline_s
        self._clock = clock

    def request(self, parsed: ParsedLine) -> Request:
        """The request of a line. Raises InvalidRequest, also where the deadline has passed."""
        within_ms = 0
        if self._deadline_s is not None:
            within_ms = math.ceil((self._deadline_s - self._clock()) * 1000)
            if within_ms <= 0:
                raise InvalidRequest(LATE, code=DEADLINE_EXCEEDED)
        request = self._inner.request(parsed)
        if not (self._urgent or within_ms):
            return request
        return replace(request, urgent=self._urgent, start_within_ms=within_ms)


class Expiry:
    """Takes back what no worker holds, once the deadline has passed, and ends it. For one thread."""

    def __init__(
        self,
        deadline_s: float,
        client: redis.Redis,
        fleet: str,
        ledger: JobLedger,
        window: Window,
        end: Callable[[Outcome], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`end` is given the outcomes. `clock` tells seconds since the epoch."""
        self._due_s = deadline_s
        self._client = client
        self._fleet = fleet
        self._ledger = ledger
        self._window = window
        self._end = end
        self._clock = clock

    def look(self) -> int:
        """Do it if it is time; returns how many were ended. Raises redis.RedisError."""
        if self._clock() < self._due_s:
            return 0
        self._due_s = self._clock() + LOOK_S
        return sum(self._end_some(queue, ids) for queue, ids in self._parts())

    def _parts(self) -> list[tuple[str, list[str]]]:
        found = self._window.by_queue(accepted=True)
        return [
            (queue, ids[start : start + WITHDRAW_AT_ONCE])
            for queue, ids in found.items()
            for start in range(0, len(ids), WITHDRAW_AT_ONCE)
        ]

    def _end_some(self, queue: str, ids: list[str]) -> int:
        keys = QueueKeys(self._fleet, queue)
        requests = [request_key(self._ledger.job_id, request_id) for request_id in ids]
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hmget(keys.requests, requests)
        pipeline.hmget(keys.attempts, requests)
        records, attempts = cast("list[list[bytes | None]]", pipeline.execute())
        withdrawn = self._ledger.withdraw(queue, ids)
        ended = 0
        for request_id, found, record, before in zip(ids, withdrawn, records, attempts, strict=True):
            if found is Withdrawn.WITHDRAWN:
                self._end(_late_outcome(request_id, record, before, self._clock()))
                ended += 1
        return ended


def _late_outcome(request_id: str, record: bytes | None, attempts: bytes | None, now_s: float) -> Outcome:
    """The end of a request that was not started in time, after the attempts that failed before."""
    error = AttemptError(None, DEADLINE_EXCEEDED, LATE, at_s=now_s)
    before: tuple[AttemptError, ...] = ()
    context: dict[str, Any] = {}
    with contextlib.suppress(MalformedEntry):
        before = decode_attempts(attempts or b"")
        context = Fields.of_text((record or b"").partition(b"\n")[0]).members("context")
    return Outcome(request_id, False, None, None, len(before), (*before, error), finished_s=now_s, context=context)
