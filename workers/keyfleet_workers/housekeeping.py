"""What a worker does beside its calls: find queues, reap, and say how it fares."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from keyfleet import redis_keys
from keyfleet.broker import ServerWatch
from keyfleet.contract import Outcome
from keyfleet.ledger import Beat, Finish, Transitions, model_of
from keyfleet.ledger.queues import queue_names_in
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet.tickets import TicketOffice
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.consumption import Consumption
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.delivery import Delivery
from keyfleet_workers.dispatch.outcomes import never_sent
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.holds import KeyState
from keyfleet_workers.key_watch import KeyWatch
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.output_means import OutputMeans

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
    watch: ServerWatch
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
    key_watch: KeyWatch
    learner: LimitLearner
    outputs: OutputMeans
    stopping: threading.Event
    declare_flags: bool = True
    _epoch: str = ""
    _status_script: Script = field(init=False)

    def __post_init__(self) -> None:
        source = load_source(("keyfleet_workers", "say_status.lua"), declare_flags=self.declare_flags)
        self._status_script = Script(self.client, source)

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
        self._note_epoch(beat.epoch)
        self.key_watch.look(beat.now_ms)
        if says_status:
            self.learner.refresh()
            self.outputs.flush()
            self._say_status(self._standings(queues, beat.now_ms), beat.now_ms)
        if beat.owned:
            self._reap(queues, beat)

    def _note_epoch(self, epoch: str) -> None:
        """A server that was wiped is still the same server, so no connection tells."""
        before, self._epoch = self._epoch, epoch
        if before and epoch != before:
            self.watch.note_loss()

    def _find_queues(self) -> list[str]:
        names = cast("set[bytes]", self.client.smembers(redis_keys.queues(self.fleet)))
        queues = queue_names_in(names)
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

    def _standings(self, queues: list[str], now_ms: int) -> dict[str, str]:
        """Per queue whether the key serves it, lost its model, or serves other models."""
        pipeline = self.client.pipeline(transaction=False)
        for queue in queues:
            pipeline.hget(QueueKeys(self.fleet, queue).lost, self.binding.name)
        lost_until_ms = pipeline.execute() if queues else []
        standings = {}
        for queue, until_ms in zip(queues, lost_until_ms, strict=True):
            is_lost = until_ms is not None and int(until_ms) > now_ms
            serves = "lost" if is_lost else "serves"
            standings[queue] = serves if self.binding.serves(model_of(queue)) else "other"
        return standings

    def _say_status(self, standings: dict[str, str], now_ms: int) -> None:
        """Times are the server's: by the clock of a host that is behind, a live worker would look dead."""
        served = [queue for queue, standing in standings.items() if standing == "serves"]
        keys = [redis_keys.workers(self.fleet), redis_keys.worker(self.fleet, self.worker_id)]
        status = json.dumps({**self._status(), "queues": standings})
        largest = [self.binding.quota(model_of(queue)).largest_cost_tokens() for queue in served]
        self._status_script(
            [*keys, *(QueueKeys(self.fleet, queue).capacity for queue in served)],
            [self.worker_id, now_ms, STATUS_LIFE_MS, status, self.binding.name, *largest],
        )

    def _status(self) -> dict[str, Any]:
        return {
            "key": self.binding.name,
            "host": self.host,
            "pid": os.getpid(),
            "in_flight": self.slots.used,
            "slots": self.slots.size,
            "short_of_slots": self.slots.is_short(),
            "waits": self.waits.current(),
            "state": self._state(),
            "limits": self._limits_status(),
            "totals": dict(self.calls.totals),
        }

    def _state(self) -> dict[str, Any]:
        """The key's gravest hold; `rest_s` None: until it is lifted."""
        hold = self.key_watch.present
        if hold is None:
            return {"name": KeyState.READY.value, "reason": "", "rest_s": 0.0}
        rest_s = None if hold.rest_ms is None else hold.rest_ms / 1000
        return {"name": hold.state.value, "reason": hold.reason, "rest_s": rest_s}

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
    return never_sent(key, (), code="workers_lost", message=message, calls=3)
