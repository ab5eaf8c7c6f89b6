"""The workers' side of the ledger: every transition of a request that a worker holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.contract import AttemptError, Outcome
from keyfleet.ledger.codec import encode_attempts, encode_outcome, split_request_key
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet.tickets import PRIORITIES, REQUESTS_PER_TICKET

__all__ = ["Beat", "Finish", "Reaped", "Retry", "Transitions"]

REAP_MOST = 1000
"""Most requests that one call of the reaper moves in one queue."""

MAX_EXPIRIES = 3
"""Leases in a row that may expire before a request is given up: it may be what kills workers."""

SILENCE_MS = 3000
"""A reaper's beat older than this means that the server or the whole fleet was away (ms)."""

REAPER_LOCK_MS = 2500
"""How long a worker owns the reaper after a beat (ms)."""

SHORTAGE_MS = 2000
"""How long tickets must have been too few before the reaper issues new ones (ms)."""


@dataclass(frozen=True, slots=True)
class Finish:
    """An outcome to be written. An empty `token` is a success that is taken whoever brings it.

    `record` is given only when the outcome is delivered again after the server lost its last seconds.
    """

    key: str
    token: str
    outcome: Outcome
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed attempt: the request comes back after `delay_ms`."""

    key: str
    token: str
    delay_ms: int
    attempts: tuple[AttemptError, ...]


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat of the fleet's reaper: whether this worker owns it, its time, and whether leases may expire."""

    owned: bool
    now_ms: int
    may_expire: bool


@dataclass(frozen=True, slots=True)
class Reaped:
    """What the reaper found: tickets to issue, requests moved to ready, leases expired, and (request, token) pairs
    that are given up and now leased to the caller."""

    lacking_tickets: int
    moved: int
    expired: int
    given_up: tuple[tuple[str, str], ...]


class Transitions:
    """Transitions of running requests in the ledger of `fleet`.

    Each method may be given a pipeline, in which the call is only queued; it then returns nothing of use.
    """

    def __init__(self, client: redis.Redis, fleet: str, *, lease_ms: int, declare_flags: bool = True) -> None:
        self._fleet = fleet
        self._lease_ms = lease_ms

        def script(name: str, *before: tuple[str, str]) -> Script:
            return Script(client, load_source(*before, (LUA_PACKAGE, name), declare_flags=declare_flags))

        self._finish = script("finish.lua", QUEUE_LUA)
        self._hand_back = script("hand_back.lua", QUEUE_LUA)
        self._retry = script("retry.lua", QUEUE_LUA)
        self._renew = script("renew.lua", QUEUE_LUA)
        self._reap = script("reap.lua", QUEUE_LUA)
        self._tick = script("tick.lua")

    def finish(self, queue: str, job_id: str, finishes: Sequence[Finish], pipeline: Any = None) -> Any:
        """Write outcomes of one job: 1 written, 0 not in the ledger, -1 the lease has passed on."""
        keys = [
            *queue_key_list(self._fleet, queue),
            redis_keys.job(self._fleet, job_id),
            redis_keys.job_outcomes(self._fleet, job_id),
        ]
        arguments: list[Any] = []
        for finish in finishes:
            outcome = finish.outcome
            arguments += [finish.key, finish.token, int(outcome.ok), encode_outcome(outcome)]
            arguments += [outcome.body or b"", finish.record]
        return self._finish(keys, arguments, pipeline)

    def hand_back(self, queue: str, taken: Sequence[tuple[str, str]], pipeline: Any = None) -> Any:
        """Return (request, token) pairs unsent, each to its old place."""
        return self._hand_back(queue_key_list(self._fleet, queue), _flat(taken), pipeline)

    def retry(self, queue: str, retries: Sequence[Retry], pipeline: Any = None) -> Any:
        """Keep requests back after a failed attempt."""
        rows = [(one.key, one.token, one.delay_ms, encode_attempts(one.attempts)) for one in retries]
        return self._retry(queue_key_list(self._fleet, queue), _flat(rows), pipeline)

    def renew(self, queue: str, taken: Sequence[tuple[str, str]]) -> list[bool]:
        """Prolong leases; False stands for each that has passed on."""
        found = self._renew(queue_key_list(self._fleet, queue), [self._lease_ms, *_flat(taken)])
        return [bool(flag) for flag in found]

    def tick(self, worker_id: str) -> Beat:
        """Try to own the fleet's reaper for one beat."""
        arguments = [worker_id, REAPER_LOCK_MS, self._lease_ms, SILENCE_MS]
        owned, now_ms, may_expire = self._tick([redis_keys.reaper(self._fleet)], arguments)
        return Beat(bool(owned), int(now_ms), bool(may_expire))

    def reap(self, queue: str, beat: Beat) -> Reaped:
        """Move due and abandoned requests of one queue to ready, on the word of a beat that this worker owns."""
        keys = [
            *queue_key_list(self._fleet, queue),
            QueueKeys(self._fleet, queue).shortage,
            *(redis_keys.tickets(self._fleet, queue, priority) for priority in PRIORITIES),
        ]
        arguments = [REAP_MOST, beat.now_ms, int(beat.may_expire), SILENCE_MS, MAX_EXPIRIES, self._lease_ms]
        lacking, moved, expired, given_up = self._reap(keys, [*arguments, REQUESTS_PER_TICKET, SHORTAGE_MS])
        names = [name.decode() for name in given_up]
        return Reaped(lacking, moved, expired, tuple(zip(names[::2], names[1::2], strict=True)))


def _flat(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]


def by_job(finishes: Sequence[Finish]) -> dict[str, list[Finish]]:
    """Outcomes grouped by their jobs."""
    groups: dict[str, list[Finish]] = {}
    for finish in finishes:
        groups.setdefault(split_request_key(finish.key)[0], []).append(finish)
    return groups
