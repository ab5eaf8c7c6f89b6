"""A chunk: the requests that a worker takes on one ticket."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import redis

from keyfleet.contract import TOO_LARGE_FOR_KEY
from keyfleet.ledger import Finish, model_of
from keyfleet.ticket_message import REQUESTS_PER_TICKET
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.chunk_counts import ChunkCounts
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
from keyfleet_workers.quota_pools import Quota

__all__ = ["ChunkRunner", "QueueControl"]

logger = logging.getLogger(__name__)

STANDING_S = 2.0
"""Longest wait that a chunk sits out; before a longer one the worker leaves the queue alone (s)."""

BRIEF_S = 0.05
"""A wait for a call slot that is not worth giving the ticket to others (s)."""

PARKED_S = 0.25
"""How long a ticket waits for another of its queue that is being served here, before it goes back (s)."""

FIRST_ANSWER_S = 60.0
"""Longest pause of a queue while the one call that shows how its provider fares is under way (s)."""

OTHERS_FIRST_S = 0.5
"""Pause where another worker's call shows how the quota fares (s)."""

NOTHING_FITS_MS = 1000
"""Pause where all that is ready is too large for this key (ms)."""

AWAY_MS = 500
"""Pause where the server doesn't answer (ms)."""


class QueueControl(Protocol):
    """What a chunk asks of the consumer. Queues are named; waits are in seconds."""

    def pause(self, queue: str, wait_s: float) -> None: ...

    def resume(self, queue: str) -> None: ...

    def chunk_began(self) -> int: ...

    def chunk_ended(self, generation: int) -> None: ...


class ChunkRunner:
    """Serves tickets for one key.

    Of each queue one chunk at a time takes; it may stand and wait up to two seconds for quota or slots, having put
    its ticket back for other workers, so that nothing is kept from a key that could run it now.
    """

    def __init__(
        self,
        *,
        binding: KeyBinding,
        taker: Taker,
        calls: CallRunner,
        slots: CallSlots,
        held: HeldRequests,
        delivery: Delivery,
        control: QueueControl,
        waits: Waits,
        standing: Standing,
        executor: ThreadPoolExecutor,
        put_back: Callable[[str, int], None],
        may_take: Callable[[], bool],
    ) -> None:
        """`put_back(queue, count)` issues a ticket; `may_take` is False while losses of the server are made good."""
        self._binding = binding
        self._taker = taker
        self._calls = calls
        self._slots = slots
        self._held = held
        self._delivery = delivery
        self._control = control
        self._waits = waits
        self._standing = standing
        self._executor = executor
        self._put_back = put_back
        self._may_take = may_take
        self._roles: dict[str, threading.Lock] = {}
        self._roles_lock = threading.Lock()

    def run(self, queue: str, count: int) -> str:
        """Serve one ticket; returns what became of its requests in a few words, without anything of theirs."""
        counts = ChunkCounts()
        with ExitStack() as at_end, self._taking_role(queue, PARKED_S) as has_role:
            if not has_role:
                self._put_back(queue, count)
                return "put back"
            at_end.callback(self._control.chunk_ended, self._control.chunk_began())
            at_end.callback(counts.wait)  # before the chunk ends, however taking ends, and behind the role
            _Taking(self, queue, self._binding.quota(model_of(queue)), counts).serve(count)
        return ", ".join(f"{number} {how}" for how, number in sorted(counts.ends.items())) or "nothing to do"

    def hurry(self, queue: str) -> None:
        """An urgent request is ready: take it now, where other work makes its queue wait. Waits for nothing."""
        if queue not in self._waits.current() or self._standing.wake(queue):
            return
        with self._taking_role(queue, 0.0) as has_role:
            if has_role:
                _Taking(
                    self, queue, self._binding.quota(model_of(queue)), ChunkCounts(), has_ticket=False
                ).take_at_once()

    @contextmanager
    def _taking_role(self, queue: str, timeout_s: float) -> Iterator[bool]:
        with self._roles_lock:
            role = self._roles.setdefault(queue, threading.Lock())
        has_role = role.acquire(timeout=timeout_s)
        try:
            yield has_role
        finally:
            if has_role:
                role.release()

    def start_calls(self, queue: str, result: TakeResult, counts: ChunkCounts) -> None:
        """Start the calls of what was taken, and end what can't ever be started."""
        for taken in (*result.taken, *result.impossible, *result.expired, *result.dropped):
            self._held.hold(queue, taken.key, taken.token, result.grant.asked_s, taken)
        for pack in result.packs:
            self._note_grant(result.grant, pack)
            counts.begin()
            try:
                self._executor.submit(self._calls.run, queue, pack, result.grant, counts)
            except RuntimeError:  # the pool is being closed
                self._calls.give_back(queue, pack, result.grant, counts)
        ended = [(taken, too_large(taken)) for taken in result.impossible]
        ended += [(taken, too_late(taken)) for taken in result.expired]
        ended += [(taken, unwanted(taken)) for taken in result.dropped]
        for taken, outcome in ended:
            self._delivery.put(queue, Finish(taken.key, taken.token, outcome), taken.record)
            self._held.drop(queue, taken.key, taken.token)
        for row in result.malformed:
            logger.warning("a request in the broker is refused: %s", row[2])
            self._delivery.put(queue, Finish(row[0], row[1], malformed_outcome(row)))
            self._calls.count("refused")

    def _note_grant(self, grant: Grant, pack: Pack) -> None:
        costs = grant.quota.costs(pack.cost)
        again = Settlement(grant.granted_ms, grant.granted_ms, (0,) * len(costs), costs)
        self._delivery.note_grant(Settle(grant.quota.limits, again))


@dataclass(slots=True)
class _Taking:
    """The part of a chunk in which it takes. `has_ticket` is False once the ticket was put back for others."""

    runner: ChunkRunner
    queue: str
    quota: Quota
    counts: ChunkCounts
    has_ticket: bool = True

    def serve(self, count: int) -> None:
        left = count
        try:
            while left > 0 and not self.runner._calls.stopping.is_set():
                health = self.runner._calls.health
                is_cautious = health.is_cautious(self.quota)
                if is_cautious and not health.may_be_first(self.quota):
                    self._leave_to_others(left, "waiting for a first answer", OTHERS_FIRST_S)
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
            self.runner._waits.clear(self.queue)

    def take_at_once(self) -> None:
        """Take once, with what slots are free."""
        calls = self.runner._calls
        is_unfit = calls.stopping.is_set() or calls.health.is_cautious(self.quota)
        got = 0 if is_unfit else self._free_slots()
        result = self._take(got, most_inputs=self._most_inputs()) if got else None
        if result is not None and result.wait_ms:
            self._leave_to_others(0, _reason(result), result.wait_ms / 1000)

    def _most_inputs(self) -> int:
        return MOST_REQUESTS if self.runner._calls.shares(self.queue) else 1

    def _free_slots(self) -> int:
        return self.runner._slots.acquire(REQUESTS_PER_TICKET, BRIEF_S)

    def _wait_for_answer(self, left: int) -> None:
        """What the call brings decides how to go on; meanwhile others may have the ticket."""
        self._leave_to_others(left, "waiting for a first answer", FIRST_ANSWER_S)
        self.counts.wait_for_answers()
        self.runner._waits.end(self.queue)
        self.runner._control.resume(self.queue)
        self.quota = self.runner._binding.quota(model_of(self.queue))  # limits may have been learned

    def _slots_for(self, most: int) -> int:
        slots = self.runner._slots
        got = slots.acquire(most, BRIEF_S)
        if got:
            return got
        self._leave_to_others(most, "concurrency", STANDING_S)
        got = slots.acquire(most, STANDING_S)
        if got:
            self.runner._control.resume(self.queue)
        return got

    def _take(self, got: int, *, most_inputs: int) -> TakeResult | None:
        """What `got` calls may begin with; a call that shows how the provider fares carries one request."""
        runner = self.runner
        used = 0
        try:
            if not runner._may_take():
                logger.info("nothing is taken while the server's last seconds are made good")
                runner._control.pause(self.queue, AWAY_MS / 1000)
                return None
            result = runner._taker.take(self.queue, self.quota, got, most_inputs=most_inputs)
            used = len(result.packs)
        except redis.RedisError as error:
            logger.warning("nothing can be taken from the broker now (%s)", type(error).__name__)
            runner._control.pause(self.queue, AWAY_MS / 1000)
            return None
        finally:
            runner._slots.release(got - used)
        runner.start_calls(self.queue, result, self.counts)
        return result

    def _go_on(self, result: TakeResult, left: int) -> bool:
        """After a take that left something ready: sit out a short wait, or leave the queue alone for a long one."""
        wait_ms = result.wait_ms
        if not wait_ms:
            if result.packs or result.impossible or result.malformed or result.expired or result.dropped:
                return True
            wait_ms = NOTHING_FITS_MS
        wait_s = wait_ms / 1000
        self._leave_to_others(left, _reason(result), wait_s)
        if wait_s > STANDING_S:
            return False
        return not self.runner._standing.wait(self.queue, wait_s)

    def _leave_to_others(self, left: int, reason: str, wait_s: float) -> None:
        self._return_ticket(left)
        self.runner._control.pause(self.queue, wait_s)
        self.runner._waits.note(self.queue, reason, wait_s)

    def _return_ticket(self, left: int) -> None:
        if self.has_ticket and left > 0:
            self.runner._put_back(self.queue, left)
            self.has_ticket = False


def _reason(result: TakeResult) -> str:
    if result.hold:
        return result.hold.describe()
    return result.limit.describe() if result.limit else TOO_LARGE_FOR_KEY
