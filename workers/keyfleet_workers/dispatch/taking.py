"""The part of a chunk in which it takes: as much as slots, quota and other chunks allow, and starts its calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import redis

from keyfleet.clock import elapsed_s
from keyfleet.contract import TOO_LARGE_FOR_KEY
from keyfleet.ledger import Finish, model_of
from keyfleet.ticket_message import REQUESTS_PER_TICKET
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.chunk_report import ChunkReport
from keyfleet_workers.dispatch.decoding import malformed_outcome
from keyfleet_workers.dispatch.delivery import Delivery, Settle
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.outcomes import too_large, too_late, unwanted
from keyfleet_workers.dispatch.packs import Pack
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.standing import Standing
from keyfleet_workers.dispatch.taker import MOST_REQUESTS, Grant, Taker, TakeResult
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.limiter import Settlement
from keyfleet_workers.metrics import NO_METER, Meter
from keyfleet_workers.quota_pools import Quota

__all__ = ["ChunkParts", "QueueControl", "Taking"]

logger = logging.getLogger(__name__)

STANDING_S = 2.0
"""Longest wait that a chunk sits out; before a longer one the worker leaves the queue alone (s)."""

LONGEST_S = 5.0
"""A chunk that has put its ticket back takes no more after so long, and another one begins: who watches the fleet
should see now and then what has become of its requests (s)."""

BRIEF_S = 0.05
"""A wait for a call slot that is not worth giving the ticket to others (s)."""

FIRST_ANSWER_S = 60.0
"""Longest pause of a queue while the one call that shows how its provider fares is under way (s)."""

OTHERS_FIRST_S = 0.5
"""Pause where another worker's call shows how the quota fares (s)."""

NOTHING_FITS_MS = 1000
"""Pause where all that is ready is too large for this key (ms)."""

FIRST_ANSWER = ("waiting for a first answer", "first_answer")
"""The reason, and its class."""

AWAY_MS = 500
"""Pause where the server doesn't answer (ms)."""


class QueueControl(Protocol):
    """What a chunk asks of the consumer. Queues are named; waits are in seconds."""

    def pause(self, queue: str, wait_s: float) -> None: ...

    def resume(self, queue: str) -> None: ...

    def chunk_began(self) -> int: ...

    def chunk_ended(self, generation: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ChunkParts:
    """What the chunks of one key work with.

    `put_back(queue, count)` issues a ticket; `may_take` is False while losses of the server are made good; `job_name`
    tells a job's name by its id.
    """

    binding: KeyBinding
    taker: Taker
    calls: CallRunner
    slots: CallSlots
    held: HeldRequests
    delivery: Delivery
    control: QueueControl
    waits: Waits
    standing: Standing
    executor: ThreadPoolExecutor
    put_back: Callable[[str, int], None]
    may_take: Callable[[], bool]
    job_name: Callable[[str], str]
    meter: Meter = NO_METER

    def quota(self, queue: str) -> Quota:
        """What a queue's requests take from."""
        return self.binding.quota(model_of(queue))

    def report(self, queue: str, tell: Callable[[object], None] = lambda what: None) -> ChunkReport:
        """Follows a new chunk."""
        return ChunkReport(queue, self.binding.name, self.job_name, tell)


@dataclass(slots=True)
class Taking:
    """The part of a chunk in which it takes. `has_ticket` is False once the ticket was put back for others."""

    parts: ChunkParts
    queue: str
    quota: Quota
    report: ChunkReport
    has_ticket: bool = True
    _ends_s: float = float("inf")

    def serve(self, count: int) -> None:
        left = count
        self._ends_s = elapsed_s() + LONGEST_S
        try:
            while left > 0 and not self._is_over():
                health = self.parts.calls.health
                is_cautious = health.is_cautious(self.quota)
                if is_cautious and not health.may_be_first(self.quota):
                    self._leave_to_others(left, *FIRST_ANSWER, OTHERS_FIRST_S)
                    return
                got = self._slots_for(1 if is_cautious else left)
                if not got:
                    return
                result = self._take(got, most_inputs=1 if is_cautious else self._most_inputs())
                if is_cautious and not (result and result.packs):
                    health.is_not_first(self.quota)
                if result is None:
                    return
                left -= len(result.taken)
                if is_cautious and result.packs:
                    self._wait_for_answer(left)
                if not result.ready_left:
                    return
                if not self._go_on(result, left):
                    return
                if not self.has_ticket:
                    left = max(left, REQUESTS_PER_TICKET)
            self._return_ticket(left)
        finally:
            self.parts.waits.clear(self.queue)

    def _is_over(self) -> bool:
        """Whether it takes no more: who has put its ticket back could go on for as long as the queue has work."""
        lasts_long = not self.has_ticket and elapsed_s() > self._ends_s
        return lasts_long or self.parts.calls.stopping.is_set()

    def take_at_once(self) -> None:
        """Take once, with what slots are free."""
        calls = self.parts.calls
        is_unfit = calls.stopping.is_set() or calls.health.is_cautious(self.quota)
        got = 0 if is_unfit else self._free_slots()
        result = self._take(got, most_inputs=self._most_inputs()) if got else None
        if result is not None and result.wait_ms:
            self._leave_to_others(0, *_reason(result), result.wait_ms / 1000)

    def _most_inputs(self) -> int:
        return MOST_REQUESTS if self.parts.calls.shares(self.queue) else 1

    def _free_slots(self) -> int:
        return self.parts.slots.acquire(REQUESTS_PER_TICKET, BRIEF_S)

    def _wait_for_answer(self, left: int) -> None:
        """What the call brings decides how to go on; meanwhile others may have the ticket."""
        self._leave_to_others(left, *FIRST_ANSWER, FIRST_ANSWER_S)
        self.report.counts.wait_for_answers()
        self.parts.waits.end(self.queue)
        self.parts.control.resume(self.queue)
        self.quota = self.parts.quota(self.queue)  # limits may have been learned

    def _slots_for(self, most: int) -> int:
        slots = self.parts.slots
        got = slots.acquire(most, BRIEF_S)
        if got:
            return got
        self._leave_to_others(most, "concurrency", "concurrency", STANDING_S)
        got = slots.acquire(most, STANDING_S)
        if got:
            self.parts.control.resume(self.queue)
        return got

    def _take(self, got: int, *, most_inputs: int) -> TakeResult | None:
        """What `got` calls may begin with; a call that shows how the provider fares carries one request."""
        parts = self.parts
        used = 0
        try:
            if not parts.may_take():
                logger.info("nothing is taken while the server's last seconds are made good")
                parts.control.pause(self.queue, AWAY_MS / 1000)
                return None
            result = parts.taker.take(self.queue, self.quota, got, most_inputs=most_inputs)
            used = len(result.packs)
        except redis.RedisError as error:
            logger.warning("nothing can be taken from the broker now (%s)", type(error).__name__)
            parts.control.pause(self.queue, AWAY_MS / 1000)
            return None
        finally:
            parts.slots.release(got - used)
        self._start_calls(result)
        return result

    def _go_on(self, result: TakeResult, left: int) -> bool:
        """After a take that left something ready: sit out a short wait, or leave the queue alone for a long one."""
        wait_ms = result.wait_ms
        if not wait_ms:
            if result.packs or result.impossible or result.malformed or result.expired or result.dropped:
                return True
            if result.parked:  # they stood before others, of which nothing is known yet
                return True
            wait_ms = NOTHING_FITS_MS
        wait_s = wait_ms / 1000
        self._leave_to_others(left, *_reason(result), wait_s)
        if wait_s > STANDING_S:
            return False
        return not self.parts.standing.wait(self.queue, wait_s)

    def _leave_to_others(self, left: int, reason: str, reason_class: str, wait_s: float) -> None:
        self._return_ticket(left)
        self.parts.control.pause(self.queue, wait_s)
        self.parts.waits.note(self.queue, reason, wait_s, reason_class)

    def _return_ticket(self, left: int) -> None:
        if self.has_ticket and left > 0:
            self.parts.put_back(self.queue, left)
            self.has_ticket = False

    def _start_calls(self, result: TakeResult) -> None:
        """Start the calls of what was taken, and end what can't ever be started."""
        parts, queue, report = self.parts, self.queue, self.report
        for taken in (*result.taken, *result.impossible, *result.expired, *result.dropped):
            parts.held.hold(queue, taken.key, taken.token, result.grant.asked_s, taken)
        for pack in result.packs:
            self._note_grant(result.grant, pack)
            report.counts.begin()
            try:
                parts.executor.submit(parts.calls.run, queue, pack, result.grant, report.counts)
            except RuntimeError:  # the pool is being closed
                parts.calls.give_back(queue, pack, result.grant, report.counts)
        ended = [(taken, too_large(taken)) for taken in result.impossible]
        ended += [(taken, too_late(taken)) for taken in result.expired]
        ended += [(taken, unwanted(taken)) for taken in result.dropped]
        parts.meter.ended(queue, "failed", len(result.impossible) + len(result.expired) + len(result.malformed))
        parts.meter.ended(queue, "stopped", len(result.dropped))
        for taken, outcome in ended:
            parts.delivery.put(queue, Finish(taken.key, taken.token, outcome), taken.record)
            parts.held.drop(queue, taken.key, taken.token)
        for row in result.malformed:
            logger.warning("a request in the broker is refused: %s", row[2])
            parts.delivery.put(queue, Finish(row[0], row[1], malformed_outcome(row)))
            parts.calls.count("refused")
        report.note(result)

    def _note_grant(self, grant: Grant, pack: Pack) -> None:
        costs = grant.quota.costs(pack.cost)
        again = Settlement(grant.granted_ms, grant.granted_ms, (0,) * len(costs), costs)
        self.parts.delivery.note_grant(Settle(grant.quota.limits, again))


def _reason(result: TakeResult) -> tuple[str, str]:
    """Why it waits, in words, and the class of that."""
    if result.hold:
        return result.hold.describe(), result.hold.state.value
    if result.limit:
        return result.limit.describe(), f"limit_{result.limit.unit}"
    return TOO_LARGE_FOR_KEY, "too_large"
