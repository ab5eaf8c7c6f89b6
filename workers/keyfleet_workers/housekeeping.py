"""What a worker does beside its calls: find queues, reap, and say how it fares."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import Any, cast

import redis

from keyfleet import redis_keys
from keyfleet.contract import AttemptError, Outcome
from keyfleet.ledger import Beat, Finish, Transitions, model_of
from keyfleet.redis_keys import QueueKeys
from keyfleet.tickets import TicketOffice
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.consumption import Consumption
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.delivery import Delivery
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.limiter import ExactRedisStorage

__all__ = ["Housekeeping"]

logger = logging.getLogger(__name__)

BEAT_S = 0.25
"""Interval of the reaper, and of looking for new queues (s)."""

STATUS_S = 1.0
"""Interval of the worker's status (s)."""

STATUS_LIFE_MS = 10_000
"""A worker that has said nothing for this long is no longer counted (ms)."""


@dataclass(slots=True)
class Housekeeping:
    """A thread of small regular duties. None of them is needed for a promise at the very moment, so errors wait."""

    client: redis.Redis
    fleet: str
    worker_id: str
    host: str
    binding: KeyBinding
    transitions: Transitions
    storage: ExactRedisStorage
    consumption: Consumption
    delivery: Delivery
    tickets: TicketOffice
    calls: CallRunner
    slots: CallSlots
    waits: Waits
    stopping: threading.Event

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="keyfleet-housekeeping", daemon=True).start()

    def _run(self) -> None:
        status_due_s = 0.0
        while not self.stopping.is_set():
            try:
                now_s = time.monotonic()
                self.look(says_status=now_s >= status_due_s)
                if now_s >= status_due_s:
                    status_due_s = now_s + STATUS_S
            except redis.RedisError as error:
                logger.info("the broker doesn't answer (%s)", type(error).__name__)
            except Exception:
                logger.exception("housekeeping failed; it goes on")
            self.stopping.wait(BEAT_S)

    def look(self, *, says_status: bool) -> None:
        """All duties once. Raises redis.RedisError."""
        queues = self._find_queues()
        beat = self.transitions.tick(self.worker_id)
        if says_status:
            self._say_status(queues, beat.now_ms)
        if beat.owned:
            self._reap(queues, beat)

    def _find_queues(self) -> list[str]:
        names = cast("set[bytes]", self.client.smembers(redis_keys.queues(self.fleet)))
        queues = [name.decode() for name in names]
        for queue in queues:
            if self.binding.serves(model_of(queue)):
                self.consumption.serve(queue)
        return queues

    def _reap(self, queues: list[str], beat: Beat) -> None:
        for queue in queues:
            reaped = self.transitions.reap(queue, beat)
            if reaped.expired:
                logger.warning("%d leases expired: their workers are gone", reaped.expired)
            for key, token in reaped.given_up:
                self.delivery.put(queue, Finish(key, token, _given_up(key)))
            self._issue(queue, reaped.lacking_tickets)

    def _issue(self, queue: str, count: int) -> None:
        """Send tickets. A full server refuses them, which must not keep other queues from being looked after."""
        try:
            for _ in range(count):
                self.tickets.issue(queue)
        except Exception as error:
            logger.info("a ticket could not be sent (%s); the next beats try again", type(error).__name__)

    def _say_status(self, queues: list[str], now_ms: int) -> None:
        """Times are the server's: by the clock of a host that is behind, a live worker would look dead."""
        until_ms = now_ms + STATUS_LIFE_MS
        pipeline = self.client.pipeline(transaction=False)
        workers = redis_keys.workers(self.fleet)
        pipeline.zadd(workers, {self.worker_id: until_ms})
        pipeline.zremrangebyscore(workers, "-inf", now_ms)
        pipeline.pexpire(workers, STATUS_LIFE_MS)
        pipeline.set(redis_keys.worker(self.fleet, self.worker_id), json.dumps(self._status()), px=STATUS_LIFE_MS)
        for queue in queues:
            if self.binding.serves(model_of(queue)):
                largest = self.binding.quota(model_of(queue)).largest_cost_tokens()
                capacity = QueueKeys(self.fleet, queue).capacity
                pipeline.hset(capacity, self.binding.name, f"{largest} {until_ms}")
                pipeline.pexpire(capacity, STATUS_LIFE_MS)
        pipeline.execute()

    def _status(self) -> dict[str, Any]:
        return {
            "key": self.binding.name,
            "host": self.host,
            "pid": os.getpid(),
            "in_flight": self.slots.used,
            "slots": self.slots.size,
            "short_of_slots": self.slots.is_short(),
            "waits": self.waits.current(),
            "limits": self._limits_status(),
            "totals": dict(self.calls.totals),
        }

    def _limits_status(self) -> list[dict[str, Any]]:
        found = []
        for quota in self.binding.quotas():
            if quota.limits:
                used = self.storage.inspect(quota.limits, [0] * len(quota.limits))
                for limit, (amount_used, _) in zip(quota.limits, used, strict=True):
                    found.append(
                        {
                            "quota": quota.name,
                            "unit": limit.unit,
                            "amount": limit.amount,
                            "window_s": limit.window_ms // 1000,
                            "used": amount_used,
                        }
                    )
        return found


def _given_up(key: str) -> Outcome:
    message = "three workers in a row were lost with this request; it may be what kills them"
    error = AttemptError(None, "workers_lost", message, at_s=time.time())
    return Outcome(id=key, ok=False, status=None, body=None, attempts=3, errors=(error,), finished_s=time.time())
