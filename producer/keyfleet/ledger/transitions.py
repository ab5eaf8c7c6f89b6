"""The workers' side of the ledger: every transition of a request that a worker holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.contract import AttemptError, Cost, Outcome
from keyfleet.ledger.codec import NO_PACK, Taken, encode_attempts, encode_outcome, split_request_key
from keyfleet.ledger.job_failures import FAILURES_LUA, failure_example
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet.ledger.pieces import StreamHead, encode_head
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet.ticket_message import PRIORITIES, REQUESTS_PER_TICKET

__all__ = [
    "LEASE_PASSED",
    "NOBODY_WAITS",
    "UNKNOWN",
    "Beat",
    "Finish",
    "OutgoingPiece",
    "Reaped",
    "Retry",
    "Transitions",
]

REAP_MOST = 1000
"""Most requests that one call of the reaper moves in one queue."""

MAX_EXPIRIES = 3
"""Leases in a row that may expire before a request is given up: it may be what kills workers."""

SILENCE_MS = 3000
"""A reaper's beat older than this means that the server or the whole fleet was away (ms).

Of a short lease it is half: else all of a lease could pass in an absence that nobody takes for one.
"""

REAPER_LOCK_MS = 2500
"""How long a worker owns the reaper after a beat, less than the silence, which a change of owner is not (ms)."""

SHORTAGE_MS = 2000
"""How long tickets must have been too few before the reaper issues new ones (ms)."""

LEASE_PASSED, UNKNOWN, NOBODY_WAITS = -1, -2, -3
"""Why a piece was not passed on: another worker holds its request, the ledger doesn't know it, its caller is gone."""


@dataclass(frozen=True, slots=True)
class Finish:
    """An outcome to be written. An empty `token` is a success that is taken whoever brings it.

    `record` is given only when the outcome is delivered again after the server lost its last seconds.
    """

    key: str
    token: str
    outcome: Outcome
    record: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed attempt: the request comes back after `delay_ms`.

    `pack` is what it may share a call with from then on (empty: nothing), None: as it was.
    """

    key: str
    token: str
    delay_ms: int
    attempts: tuple[AttemptError, ...]
    pack: str | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat of the fleet's reaper: whether this worker owns it, its time, and whether leases may expire.

    `epoch` names the time since the server was last empty: another one means that everything was lost in between. For
    `settling_ms` nothing may be taken yet: a server that was started just now may have lost who holds what.
    """

    owned: bool
    now_ms: int
    may_expire: bool
    epoch: str = ""
    settling_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reaped:
    """What the reaper found: tickets to issue, requests moved to ready, leases expired, and (request, token) pairs
    that are given up and now leased to the caller."""

    lacking_tickets: int
    moved: int
    expired: int
    given_up: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class OutgoingPiece:
    """A piece of an answer on its way to the caller, as `pieces.Piece`; number 0: none, only the standing is asked."""

    key: str
    token: str
    number: int = 0
    body: bytes = field(default=b"", repr=False)
    head: StreamHead | None = None


class Transitions:
    """Transitions of running requests in the ledger of `fleet`.

    Each method may be given a pipeline, in which the call is only queued; it then returns nothing of use.
    """

    def __init__(self, client: redis.Redis, fleet: str, *, lease_ms: int, declare_flags: bool = True) -> None:
        self._fleet = fleet
        self._lease_ms = lease_ms
        self._silence_ms = min(SILENCE_MS, lease_ms // 2)
        self._lock_ms = min(REAPER_LOCK_MS, self._silence_ms * REAPER_LOCK_MS // SILENCE_MS)

        def script(name: str, *before: tuple[str, str]) -> Script:
            return Script(client, load_source(*before, (LUA_PACKAGE, name), declare_flags=declare_flags))

        self._finish = script("finish.lua", QUEUE_LUA, FAILURES_LUA)
        self._hand_back = script("hand_back.lua", QUEUE_LUA)
        self._retry = script("retry.lua", QUEUE_LUA)
        self._renew = script("renew.lua", QUEUE_LUA)
        self._forgive = script("forgive.lua", QUEUE_LUA)
        self._hold_again = script("hold_again.lua", QUEUE_LUA)
        self._reap = script("reap.lua", QUEUE_LUA)
        self._tick = script("tick.lua")
        self._lose_model = script("lose_model.lua")
        self._stream = script("stream.lua", QUEUE_LUA)

    def finish(self, queue: str, job_id: str, finishes: Sequence[Finish], pipeline: Any = None) -> Any:
        """Write outcomes of one job: 1 written, 0 not in the ledger, -1 the lease has passed on."""
        keys = [
            *queue_key_list(self._fleet, queue),
            redis_keys.job(self._fleet, job_id),
            redis_keys.job_outcomes(self._fleet, job_id),
            redis_keys.job_failures(self._fleet, job_id),
            redis_keys.job_failure_examples(self._fleet, job_id),
        ]
        arguments: list[Any] = []
        for finish in finishes:
            outcome = finish.outcome
            arguments += [*map(_as_it_was, (finish.key, finish.token)), int(outcome.ok), encode_outcome(outcome)]
            arguments += [outcome.body or b"", finish.record]
            arguments += ["", ""] if outcome.ok else [outcome.failure_reason, failure_example(outcome)]
        return self._finish(keys, arguments, pipeline)

    def hand_back(
        self,
        queue: str,
        taken: Sequence[tuple[str, str]],
        pipeline: Any = None,
        *,
        costs: Sequence[Cost | None] = (),
        packs: Sequence[str | None] = (),
    ) -> Any:
        """Return (request, token) pairs unserved, each to its old place.

        `costs` has what each costs from now on, None where that stays as it was; empty: it does for all.
        `packs` has the same of what they may share calls with (an empty text: nothing).
        """
        new_costs = [_new_cost(cost) for cost in costs] or [_new_cost(None)] * len(taken)
        new_packs = [_new_pack(pack) for pack in packs] or [""] * len(taken)
        rows = [(*pair, *cost, pack) for pair, cost, pack in zip(taken, new_costs, new_packs, strict=True)]
        return self._hand_back(queue_key_list(self._fleet, queue), _flat(rows), pipeline)

    def lose_model(self, queue: str, key_name: str, rest_ms: int, *, alone_ms: int = 0) -> bool:
        """Whether the key, which was told that it can't use `queue`'s model, leaves the queue to others for `rest_ms`.

        False where no other key serves it now; then it leaves it for `alone_ms` all the same. Raises redis.RedisError.
        """
        keys = QueueKeys(self._fleet, queue)
        return bool(self._lose_model([keys.capacity, keys.lost], [key_name, rest_ms, alone_ms]))

    def stream(self, queue: str, job_id: str, pieces: Sequence[OutgoingPiece], pipeline: Any = None) -> Any:
        """Pass pieces of answers on to the caller of one job: per piece how many bytes of its answer have been read, or
        one of `LEASE_PASSED`, `UNKNOWN` and `NOBODY_WAITS`. Raises redis.RedisError."""
        keys = [
            *queue_key_list(self._fleet, queue),
            redis_keys.job(self._fleet, job_id),
            redis_keys.job_outcomes(self._fleet, job_id),
            redis_keys.callers(self._fleet),
            redis_keys.job_read(self._fleet, job_id),
        ]
        rows = [(one.key, one.token, one.number, encode_head(one.head) if one.head else "", one.body) for one in pieces]
        return self._stream(keys, [ALIVE_MS, *_flat(rows)], pipeline)

    def retry(self, queue: str, retries: Sequence[Retry], pipeline: Any = None) -> Any:
        """Keep requests back after a failed attempt."""
        rows = [
            (one.key, one.token, one.delay_ms, encode_attempts(one.attempts), _new_pack(one.pack)) for one in retries
        ]
        return self._retry(queue_key_list(self._fleet, queue), _flat(rows), pipeline)

    def renew(self, queue: str, taken: Sequence[tuple[str, str]]) -> list[int]:
        """Prolong leases: 1 it stands again, 0 it has passed on, -1 the ledger doesn't know the request (any more)."""
        found = self._renew(queue_key_list(self._fleet, queue), [self._lease_ms, *_flat(taken)])
        return [int(flag) for flag in found]

    def forgive(self, queue: str, taken: Sequence[tuple[str, str]]) -> int:
        """Leases are left to their end by a worker that stops in order: no loss of a worker is counted against their
        requests. Returns how many stood. Raises redis.RedisError."""
        return int(self._forgive(queue_key_list(self._fleet, queue), _flat(taken)))

    def hold_again(self, queue: str, held: Sequence[Taken]) -> list[bool]:
        """Put what a worker has in flight back into a ledger that may have lost it; False: another worker has it."""
        keys = [*queue_key_list(self._fleet, queue), QueueKeys(self._fleet, queue).sequence]
        rows = [
            (
                *(one.key, one.token, one.cost_tokens, one.cost_images, one.record),
                encode_attempts(one.attempts) if one.attempts else "",
            )
            for one in held
        ]
        arguments = [queue, self._lease_ms, *_flat(rows)]
        return [bool(flag) for flag in self._hold_again([*keys, redis_keys.queues(self._fleet)], arguments)]

    def tick(self, worker_id: str, *, run_id: str = "", settling_ms: int = 0) -> Beat:
        """Try to own the fleet's reaper for one beat.

        `run_id` names the start of the server that is asked: after a new one, all may take `settling_ms` to make good
        what it has lost. Empty, nothing can have been lost.
        """
        arguments = [worker_id, self._lock_ms, self._lease_ms, self._silence_ms, run_id, settling_ms]
        owned, now_ms, may_expire, epoch, left_ms = self._tick([redis_keys.reaper(self._fleet)], arguments)
        return Beat(bool(owned), int(now_ms), bool(may_expire), epoch.decode(errors="replace"), int(left_ms))

    def reap(self, queue: str, beat: Beat) -> Reaped:
        """Move due and abandoned requests of one queue to ready, on the word of a beat that this worker owns."""
        keys = [
            *queue_key_list(self._fleet, queue),
            QueueKeys(self._fleet, queue).shortage,
            *(redis_keys.tickets(self._fleet, queue, priority) for priority in PRIORITIES),
        ]
        arguments = [REAP_MOST, beat.now_ms, int(beat.may_expire), self._silence_ms, MAX_EXPIRIES, self._lease_ms]
        lacking, moved, expired, given_up = self._reap(keys, [*arguments, REQUESTS_PER_TICKET, SHORTAGE_MS])
        names = [name.decode(errors="surrogateescape") for name in given_up]
        return Reaped(lacking, moved, expired, tuple(zip(names[::2], names[1::2], strict=True)))


def _new_cost(cost: Cost | None) -> tuple[int | str, int | str]:
    """As the scripts want it, in tokens and images: nothing where it stays as it was."""
    return ("", "") if cost is None else (cost.tokens, cost.images)


def _new_pack(pack: str | None) -> str:
    """As the scripts want it: nothing where it stays as it was."""
    return "" if pack is None else pack or NO_PACK.decode()


def _flat(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [_as_it_was(value) for row in rows for value in row]


def _as_it_was(value: Any) -> Any:
    """A name that was read as no text has its bytes again; hiredis would refuse it."""
    return value.encode(errors="surrogateescape") if isinstance(value, str) else value


def by_job(finishes: Sequence[Finish]) -> dict[str, list[Finish]]:
    """Outcomes grouped by their jobs."""
    groups: dict[str, list[Finish]] = {}
    for finish in finishes:
        groups.setdefault(split_request_key(finish.key)[0], []).append(finish)
    return groups
