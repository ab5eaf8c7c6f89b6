"""Taking requests from the ledger: quota and lease in one round trip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.clock import elapsed_s
from keyfleet.ledger.codec import Taken, decode_record
from keyfleet.ledger.queues import QUEUE_LUA, queue_key_list
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet_workers.binding import Quota
from keyfleet_workers.limiter import QuotaLimit
from keyfleet_workers.limiter.quota import as_arguments
from keyfleet_workers.limiter.storage import WINDOW_LUA

__all__ = ["Grant", "TakeResult", "Taker"]

LOOKAHEAD = 64
"""Most requests that a key passes over because they can never fit its limits."""

HOPELESS_GRACE_MS = 30_000
"""How long a request that fits no key's limits waits for a key that might start it (ms)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """When quota was reserved: the server's time, and this host's monotonic time just before it was asked."""

    quota: Quota
    granted_ms: int
    asked_s: float

    def server_ms(self, at_s: float) -> int:
        """The server's time (ms) at `at_s` of the monotonic clock, late by at most one round trip."""
        return self.granted_ms + max(0, round((at_s - self.asked_s) * 1000))


@dataclass(frozen=True, slots=True)
class TakeResult:
    """What a take brought.

    `wait_ms` is the time until the first request left over may start here, 0 where nothing but the number asked for
    stopped the take. `waits_for` says what imposes it: a limit, or the reason of a cooldown. `impossible` are leased
    requests that fit no key's limits.
    """

    grant: Grant
    taken: tuple[Taken, ...]
    impossible: tuple[Taken, ...]
    ready_left: int
    wait_ms: int
    limit: QuotaLimit | None
    cooldown: str


class Taker:
    """Takes requests for one key."""

    def __init__(
        self,
        client: redis.Redis,
        fleet: str,
        *,
        worker_id: str,
        key_scope: str,
        lease_ms: int,
        declare_flags: bool = True,
    ) -> None:
        """`key_scope` names the key in cooldowns."""
        self._fleet = fleet
        self._worker_id = worker_id
        self._key_scope = key_scope
        self._lease_ms = lease_ms
        self._numbers = itertools.count()
        self._granted_ms: dict[str, int] = {}
        source = load_source(
            QUEUE_LUA, WINDOW_LUA, ("keyfleet_workers.dispatch", "take.lua"), declare_flags=declare_flags
        )
        self._script = Script(client, source)

    def take(self, queue: str, quota: Quota, most: int) -> TakeResult:
        """Reserve quota for, and lease, up to `most` requests of `queue`. Raises redis.RedisError."""
        limits = quota.limits
        keys = [
            *queue_key_list(self._fleet, queue),
            QueueKeys(self._fleet, queue).capacity,
            redis_keys.cooldown(self._key_scope),
            redis_keys.cooldown(quota.name),
            *(limit.key for limit in limits),
        ]
        asked_s = elapsed_s()
        prefix = f"{self._worker_id}:{next(self._numbers)}"
        arguments = [most, self._lease_ms, prefix, LOOKAHEAD, HOPELESS_GRACE_MS, len(limits)]
        counts_tokens = [int(limit.unit == "tokens") for limit in limits]
        answer = self._script(keys, [*arguments, *as_arguments(limits, self._known_ms(quota, asked_s)), *counts_tokens])
        now_ms, wait_ms, blocked, cooldown, ready_left, taken, impossible = answer
        requests = _decode(taken)
        self._note_grants(quota, requests, int(now_ms))
        return TakeResult(
            Grant(quota, int(now_ms), asked_s),
            requests,
            _decode(impossible),
            ready_left,
            wait_ms if wait_ms >= 0 else 0,
            limits[blocked - 1] if blocked else None,
            cooldown.decode(),
        )

    def _known_ms(self, quota: Quota, now_s: float) -> list[int]:
        """Per limit the server's time of the latest grant here, 0 where that is longer ago than its window."""
        known = quota.known(now_s)
        return [
            self._granted_ms.get(limit.key, 0) if is_known else 0
            for limit, is_known in zip(quota.limits, known, strict=True)
        ]

    def _note_grants(self, quota: Quota, taken: Sequence[Taken], granted_ms: int) -> None:
        if not taken:
            return
        quota.note_grant(elapsed_s())
        for limit in quota.limits:
            if any(limit.cost(request.cost_tokens) for request in taken):
                self._granted_ms[limit.key] = granted_ms


def _decode(rows: Sequence[Any]) -> tuple[Taken, ...]:
    return tuple(
        decode_record(rows[at].decode(), rows[at + 1].decode(), int(rows[at + 2]), rows[at + 3], rows[at + 4])
        for at in range(0, len(rows), 5)
    )
