"""What a worker does beside its calls: find queues, reap, sweep, and say how it fares."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.broker import SETTLING_S, ServerWatch
from keyfleet.contract import Outcome
from keyfleet.ledger import Beat, Finish, Transitions, model_of
from keyfleet.ledger.queues import queue_names_in
from keyfleet.tickets import TicketOffice
from keyfleet_workers.asked_probe import AskedProbe
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.consumption import Consumption
from keyfleet_workers.dispatch.delivery import Delivery
from keyfleet_workers.dispatch.outcomes import never_sent
from keyfleet_workers.key_watch import KeyWatch
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.metrics import NO_METER, Meter
from keyfleet_workers.model_lists import ModelLists
from keyfleet_workers.output_means import OutputMeans
from keyfleet_workers.worker_status import WorkerStatus

__all__ = ["Housekeeping"]

logger = logging.getLogger(__name__)

BEAT_S = 0.25
"""Interval of the reaper, and of looking for new queues (s)."""

STATUS_S = 1.0
"""Interval of the worker's status (s)."""

SWEEP_S = 60.0
"""Interval of looking for jobs that nobody collects (s)."""


@dataclass(slots=True)
class Housekeeping:
    """A thread of small regular duties. None of them is needed for a promise at the very moment, so errors wait."""

    client: redis.Redis
    watch: ServerWatch
    fleet: str
    worker_id: str
    binding: KeyBinding
    transitions: Transitions
    consumption: Consumption
    delivery: Delivery
    tickets: TicketOffice
    status: WorkerStatus
    key_watch: KeyWatch
    asked_probe: AskedProbe
    learner: LimitLearner
    outputs: OutputMeans
    models: ModelLists
    sweep: Callable[[], object]
    """Removes jobs that nobody collects. May take long."""
    stopping: threading.Event
    may_lose: bool = True
    """Whether a server that ends may lose what it was told last."""
    meter: Meter = NO_METER
    note_standing: Callable[[], None] = lambda: None
    """Tells the meter how the worker stands. Asks no server."""
    _epoch: str = ""
    _owns_fleet: bool = False

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="keyfleet-housekeeping", daemon=True).start()
        threading.Thread(target=self._run_sweeps, name="keyfleet-sweep", daemon=True).start()

    def _run_sweeps(self) -> None:
        """Beside the beats, which must not wait for it."""
        while not self.stopping.wait(SWEEP_S):
            if not self._owns_fleet:
                continue
            try:
                self.sweep()
            except redis.RedisError as error:
                logger.info("looking for abandoned jobs failed (%s)", type(error).__name__)
            except Exception:
                logger.exception("looking for abandoned jobs failed; it goes on")

    def _run(self) -> None:
        status_due_s = 0.0
        while not self.stopping.is_set():
            try:
                now_s = time.monotonic()
                if now_s >= status_due_s:
                    self.note_standing()
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
        beat = self._tick()
        queues = self._find_queues()  # behind the beat, which says whether anything may be taken from them yet
        before = self.key_watch.state
        self.key_watch.look(beat.now_ms)
        if says_status:
            self.learner.refresh()
            self.outputs.flush()
        if says_status or self.key_watch.state != before:
            self.status.say(queues, beat.now_ms)
        self._owns_fleet = beat.owned
        if beat.owned:
            self._reap(queues, beat)
        if says_status:
            self.asked_probe.look()
            self.models.look()

    def _tick(self) -> Beat:
        run_id = self.watch.run_id if self.may_lose else ""
        beat = self.transitions.tick(self.worker_id, run_id=run_id, settling_ms=round(SETTLING_S * 1000))
        self._note_epoch(beat.epoch)
        if beat.settling_ms:
            self.watch.settle(beat.settling_ms / 1000)
        return beat

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
            self.meter.reaped(queue, reaped)
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


def _given_up(key: str) -> Outcome:
    message = "three workers in a row were lost with this request; it may be what kills them"
    return never_sent(key, (), code="workers_lost", message=message, calls=3)
