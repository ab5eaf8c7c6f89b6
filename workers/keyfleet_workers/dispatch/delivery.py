"""Carries results into Redis: answers of a few milliseconds together, none waiting for a slow neighbour."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import redis

from keyfleet.broker import ServerWatch
from keyfleet.clock import elapsed_s
from keyfleet.contract import Cost
from keyfleet.ledger import Finish, Retry, Transitions
from keyfleet.ledger.transitions import by_job
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.limiter import Correction, ExactRedisStorage, QuotaLimit, Settlement

__all__ = ["Correct", "Delivery", "HandBack", "Settle"]

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 256
"""Most results that one round trip carries."""

GATHER_S = 0.005
"""Least time between the beginnings of two round trips: what comes meanwhile goes together (s)."""

HOLD_AT_ONCE = 64
"""Requests in flight that one call puts back into a ledger that may have lost them."""

RECENT_S = 3.0
"""How long delivered outcomes and grants are kept: a server with an AOF synced every second may lose two (s)."""

NOT_CURED_BY_WAITING = (redis.DataError, redis.ResponseError)
"""Errors (these very classes, not those below them) of one command that is wrong, while the server is there."""

AWAY_PAUSE_S = 0.25
"""Pause between tries while the server is away (s)."""


@dataclass(frozen=True, slots=True)
class HandBack:
    """A request that goes back unserved. From now on it costs `cost`, and may share a call with `pack` (empty: with
    nothing); None: as it was."""

    key: str
    token: str
    cost: Cost | None = None
    pack: str | None = None


@dataclass(frozen=True, slots=True)
class Settle:
    """A correction of one grant on `limits`."""

    limits: tuple[QuotaLimit, ...]
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class Correct:
    """What a provider says is left of each of `limits`."""

    limits: tuple[QuotaLimit, ...]
    corrections: tuple[Correction, ...]


Result = Finish | Retry | HandBack | Settle | Correct


class Delivery:
    """Delivers what workers' threads put in, in the background, until it has been delivered.

    While the server is away everything is kept. When a server comes back that may have lost its last seconds, the
    outcomes and grants of those seconds are delivered again first.
    """

    def __init__(
        self,
        client: redis.Redis,
        transitions: Transitions,
        storage: ExactRedisStorage,
        watch: ServerWatch,
        *,
        on_ready_again: Callable[[str, int], None],
        held: HeldRequests | None = None,
        keep_recent: bool = True,
    ) -> None:
        """`on_ready_again(queue, count)` is told of requests that went back. `held` are put back into a ledger that has
        lost them. `keep_recent=False` suits a server that syncs every write to disk."""
        self._client = client
        self._transitions = transitions
        self._storage = storage
        self._watch = watch
        self._on_ready_again = on_ready_again
        self._held = HeldRequests(0.0) if held is None else held  # an empty one is false
        self._recent_s = RECENT_S if keep_recent else 0.0
        self._waiting: deque[tuple[str, Result, bytes]] = deque()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._stopping = False
        self._began_s = float("-inf")
        self._records_until_s = float("-inf")
        self._recent: deque[tuple[float, str, Finish]] = deque()
        self._recent_grants: deque[tuple[float, Settle]] = deque()
        self._thread = threading.Thread(target=self._run, name="keyfleet-delivery", daemon=True)
        watch.tell_changes_to(self._wake.set)  # nothing is taken until recovery, so nothing else would wake it

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def put(self, queue: str, result: Result, record: bytes = b"") -> None:
        """Deliver `result`. `record` is the request's record, for an outcome that may have to be delivered again."""
        self._waiting.append((queue, result, record))
        self._idle.clear()  # after the line above, else it could be set again with this result still waiting
        self._wake.set()

    def note_grant(self, grant: Settle) -> None:
        """Remember a grant, as the surcharge that would make it good if the server lost it."""
        if self._recent_s:
            self._recent_grants.append((elapsed_s(), grant))

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Whether everything was delivered within `timeout_s`."""
        return self._idle.wait(timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Deliver what is there and end; False when something is left after `timeout_s`."""
        delivered = self.wait_until_idle(timeout_s)
        self._stopping = True
        self._wake.set()
        self._thread.join(1.0)
        return delivered

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            while self._waiting or self._watch.changed:
                self._gather()
                self._deliver_some()
            if not self._waiting:
                self._idle.set()
                if self._waiting:  # put between the two lines above
                    self._idle.clear()
                    self._wake.set()

    def _gather(self) -> None:
        wait_s = self._began_s + GATHER_S - elapsed_s()
        if wait_s > 0 and len(self._waiting) < MOST_AT_ONCE:
            time.sleep(wait_s)
        self._began_s = elapsed_s()

    def _deliver_some(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
        try:
            if self._watch.changed:
                self._deliver_recent_again()
                self._records_until_s = elapsed_s() + RECENT_S
            if elapsed_s() < self._records_until_s:
                batch = [_with_record(one) for one in batch]
            if batch:
                self._flush(batch)
        except redis.RedisError as error:
            logger.warning("the broker can't take results now (%s); they are kept", type(error).__name__)
            # A refund that may have arrived is forgone: made twice, it would take off another call's charge.
            kept = [one for one in batch if not _is_refund(one[1])]
            if type(error) in NOT_CURED_BY_WAITING:
                self._deliver_singly(kept)
            else:
                self._waiting.extendleft(reversed(kept))
            time.sleep(AWAY_PAUSE_S)
        except Exception:
            self._deliver_singly(batch)

    def _deliver_singly(self, batch: Sequence[tuple[str, Result, bytes]]) -> None:
        """Something in `batch` can't be written at all: deliver the others, which must not wait for it for ever."""
        for one in batch:
            try:
                self._flush([one])
            except Exception as error:
                if isinstance(error, redis.RedisError) and not isinstance(error, redis.DataError):
                    self._waiting.append(one)
                    continue
                kind = type(one[1]).__name__
                logger.error("a %s can't be written (%s); its request's lease will end", kind, type(error).__name__)

    def _flush(self, batch: Sequence[tuple[str, Result, bytes]]) -> None:
        calls = self._script_calls(batch)
        if len(calls) == 1:  # the usual case; a pipeline asks the server first whether it knows the scripts
            calls[0](None)
        elif calls:
            pipeline = self._client.pipeline(transaction=False)
            for call in calls:
                call(pipeline)
            pipeline.execute()
        self._remember(batch)
        self._announce_returned(batch)

    def _script_calls(self, batch: Sequence[tuple[str, Result, bytes]]) -> list[Callable[[Any], Any]]:
        """Functions that take a pipeline or None."""
        transitions = self._transitions
        calls: list[Callable[[Any], Any]] = []
        for queue, results in _by_queue(batch).items():
            for job_id, finishes in by_job([one for one in results if isinstance(one, Finish)]).items():
                calls.append(partial(transitions.finish, queue, job_id, finishes))
            if retries := [one for one in results if isinstance(one, Retry)]:
                calls.append(partial(transitions.retry, queue, retries))
            if returned := [one for one in results if isinstance(one, HandBack)]:
                pairs = [(one.key, one.token) for one in returned]
                costs = [one.cost for one in returned]
                packs = [one.pack for one in returned]
                calls.append(partial(transitions.hand_back, queue, pairs, costs=costs, packs=packs))
        for limits, settlements in _by_limits([one for _, one, _ in batch if isinstance(one, Settle)]):
            calls.append(partial(self._storage.settle, limits, settlements))
        for _, one, _ in batch:
            if isinstance(one, Correct):
                calls.append(partial(self._storage.correct, one.limits, one.corrections))
        return calls

    def _announce_returned(self, batch: Sequence[tuple[str, Result, bytes]]) -> None:
        for queue, results in _by_queue(batch).items():
            if count := sum(isinstance(one, HandBack) for one in results):
                self._on_ready_again(queue, count)

    def _remember(self, batch: Sequence[tuple[str, Result, bytes]]) -> None:
        now_s = elapsed_s()
        if self._recent_s:
            for queue, result, record in batch:
                if isinstance(result, Finish):
                    self._recent.append((now_s, queue, replace(result, record=record)))
        _forget_before(self._recent, now_s - self._recent_s)
        _forget_before(self._recent_grants, now_s - self._recent_s)

    def _deliver_recent_again(self) -> None:
        logger.warning("the broker was restarted: delivering the outcomes of the last seconds again")
        pipeline = self._client.pipeline(transaction=False)
        by_queue: dict[str, list[Finish]] = {}
        for _, queue, finish in self._recent:
            by_queue.setdefault(queue, []).append(finish)
        for queue, finishes in by_queue.items():
            for job_id, of_job in by_job(finishes).items():
                self._transitions.finish(queue, job_id, of_job, pipeline)
        for limits, settlements in _by_limits([grant for _, grant in list(self._recent_grants)]):  # others add
            self._storage.settle(limits, settlements, pipeline)
        if pipeline.command_stack:
            pipeline.execute()
        self._hold_again()
        self._watch.dealt_with()

    def _hold_again(self) -> None:
        """What is in flight here must be ready for nobody else, whether its lease was lost or all of it."""
        for queue, in_hand in self._held.in_hand().items():
            for start in range(0, len(in_hand), HOLD_AT_ONCE):
                part = in_hand[start : start + HOLD_AT_ONCE]
                asked_s = elapsed_s()
                for taken, is_held in zip(part, self._transitions.hold_again(queue, part), strict=True):
                    if is_held:
                        self._held.renewed(queue, taken.key, taken.token, asked_s)
                    else:
                        self._held.drop(queue, taken.key, taken.token)


def _with_record(one: tuple[str, Result, bytes]) -> tuple[str, Result, bytes]:
    """An outcome that is written even where the server has lost its request while it was under way."""
    queue, result, record = one
    return (queue, replace(result, record=record), record) if isinstance(result, Finish) else one


def _by_queue(batch: Sequence[tuple[str, Result, bytes]]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for queue, result, _ in batch:
        groups.setdefault(queue, []).append(result)
    return groups


def _by_limits(settles: Sequence[Settle]) -> list[tuple[tuple[QuotaLimit, ...], list[Settlement]]]:
    groups: dict[tuple[QuotaLimit, ...], list[Settlement]] = {}
    for settle in settles:
        groups.setdefault(settle.limits, []).append(settle.settlement)
    return list(groups.items())


def _is_refund(result: Result) -> bool:
    return isinstance(result, Settle) and any(delta < 0 for delta in result.settlement.deltas)


def _forget_before(kept: deque[tuple[float, str, Finish]] | deque[tuple[float, Settle]], before_s: float) -> None:
    while kept and kept[0][0] < before_s:
        kept.popleft()
