"""Taking requests from the ledger: quota and lease in one round trip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.clock import elapsed_s
from keyfleet.ledger import Taken
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet.ledger.queues import QUEUE_LUA, queue_key_list
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet_workers.dispatch.decoding import MalformedRow, decode_packs, decode_rows
from keyfleet_workers.dispatch.packs import Pack
from keyfleet_workers.holds import Hold, KeyScopes, parse_hold, pool_scope
from keyfleet_workers.limiter import QuotaLimit
from keyfleet_workers.limiter.quota import as_arguments
from keyfleet_workers.limiter.ramps import RAMP_LUA, RAMP_STEP_MS
from keyfleet_workers.limiter.storage import WINDOW_LUA
from keyfleet_workers.quota_pools import Quota

__all__ = ["Grant", "TakeResult", "Taker"]

LUA_PACKAGE = "keyfleet_workers.dispatch"

MOST_REQUESTS = 2048
"""Most requests of one take, which bounds how long the server is at it; and so of one call."""

MOST_SHARED_TOKENS = 250_000
"""Most tokens of one call that several requests share. OpenAI takes 300,000 of all inputs of an embeddings request
together (API reference, `input` of /v1/embeddings); what is counted here is partly estimated."""

LOOKAHEAD = 64
"""Most requests that a key passes over because they can never fit its limits."""

URGENT_PERCENT = 5
"""Part of every limit (%) that other work leaves to urgent requests while these come: they would find a window of a
minute filled, and wait until it moves on."""

URGENT_MS = 300_000
"""How long after an urgent request others are expected (ms)."""

HOPELESS_GRACE_MS = 30_000
"""How long a request that fits no key's limits waits for a key that might start it (ms)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """When quota was reserved: the server's time, and this host's monotonic time just before it was asked.

    Per limit of the quota, `left` is what was left after the grants of its chunk, and `foreign` what others were known
    to use of it.
    """

    quota: Quota
    granted_ms: int
    asked_s: float
    left: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()

    def server_ms(self, at_s: float) -> int:
        """The server's time (ms) at `at_s` of the monotonic clock, late by at most one round trip."""
        return self.granted_ms + max(0, round((at_s - self.asked_s) * 1000))

    def ages_s(self, requests: Sequence[Taken]) -> list[float]:
        """How long ago those of the requests were accepted of which that is known (s)."""
        now_ms = self.server_ms(elapsed_s())
        return [(now_ms - taken.accepted_ms) / 1000 for taken in requests if taken.accepted_ms]


@dataclass(frozen=True, slots=True)
class TakeResult:
    """What a take brought: in `packs` the requests of each call that may begin.

    `wait_ms` is the time until the first request left over may start here, 0 where nothing but the number asked for
    stopped the take. What imposes it is a limit, or a hold. `impossible` are leased requests that fit no key's limits;
    `malformed` are leased too, and can't be read. `expired` are leased, and too late to be started;
    of `dropped` the caller is gone. `parked` were met, and wait on with their paused jobs.
    """

    grant: Grant
    packs: tuple[Pack, ...]
    impossible: tuple[Taken, ...]
    ready_left: int
    wait_ms: int
    limit: QuotaLimit | None
    hold: Hold | None
    malformed: tuple[MalformedRow, ...] = ()
    expired: tuple[Taken, ...] = ()
    dropped: tuple[Taken, ...] = ()
    parked: int = 0

    @property
    def taken(self) -> tuple[Taken, ...]:
        """The requests of all calls."""
        return tuple(taken for pack in self.packs for taken in pack.members)


class Taker:
    """Takes requests for one key."""

    def __init__(
        self,
        client: redis.Redis,
        fleet: str,
        *,
        worker_id: str,
        key_name: str,
        scopes: KeyScopes,
        lease_ms: int,
        ramp_step_ms: int = RAMP_STEP_MS,
        declare_flags: bool = True,
    ) -> None:
        """`scopes` are those of the key's holds. In `ramp_step_ms` a quota that was slowed down grows by half."""
        self._fleet = fleet
        self._worker_id = worker_id
        self._key_name = key_name
        self._scopes = scopes
        self._lease_ms = lease_ms
        self._ramp_step_ms = ramp_step_ms
        self._numbers = itertools.count()
        self._granted_ms: dict[str, int] = {}
        own = ((LUA_PACKAGE, name) for name in ("capacity.lua", "wanted.lua", "take.lua"))
        source = load_source(QUEUE_LUA, WINDOW_LUA, RAMP_LUA, *own, declare_flags=declare_flags)
        self._script = Script(client, source)

    def take(self, queue: str, quota: Quota, most: int, *, most_inputs: int = MOST_REQUESTS) -> TakeResult:
        """Reserve quota for, and lease, the requests of up to `most` calls of `queue`; of requests that may share one,
        each carries up to `most_inputs`. Raises redis.RedisError.
        """
        limits = quota.limits
        scopes = self._hold_scopes(quota)
        keys = [
            *queue_key_list(self._fleet, queue),
            QueueKeys(self._fleet, queue).capacity,
            QueueKeys(self._fleet, queue).lost,
            redis_keys.ramp(quota.name),
            redis_keys.callers(self._fleet),
            QueueKeys(self._fleet, queue).urgent,
            redis_keys.paused(self._fleet),
            *(redis_keys.hold(scope) for scope in scopes),
            *(limit.key for limit in limits),
        ]
        asked_s = elapsed_s()
        prefix = f"{self._worker_id}:{next(self._numbers)}"
        arguments: list[Any] = [most, self._lease_ms, prefix, LOOKAHEAD, HOPELESS_GRACE_MS]
        arguments += [self._key_name, self._ramp_step_ms, ALIVE_MS]
        arguments += [max(most, MOST_REQUESTS), most_inputs, MOST_SHARED_TOKENS, URGENT_PERCENT, URGENT_MS]
        arguments += [len(scopes), len(limits)]
        arguments += as_arguments(limits, self._known_ms(quota, asked_s))
        answer = self._script(keys, [*arguments, *(limit.unit for limit in limits)])
        now_ms, wait_ms, blocked, hold, ready_left, taken, impossible, expired, dropped, standings, parked = answer
        packs, malformed = decode_packs(taken)
        hopeless, unreadable = decode_rows(impossible)
        too_late, unreadable_late = decode_rows(expired)
        unwanted, unreadable_unwanted = decode_rows(dropped)
        self._note_grants(quota, packs, int(now_ms))
        return TakeResult(
            Grant(quota, int(now_ms), asked_s, tuple(standings[::2]), tuple(standings[1::2])),
            packs,
            hopeless,
            ready_left,
            wait_ms if wait_ms >= 0 else 0,
            limits[blocked - 1] if blocked else None,
            parse_hold("", hold, wait_ms) if hold else None,
            (*malformed, *unreadable, *unreadable_late, *unreadable_unwanted),
            too_late,
            unwanted,
            parked,
        )

    def _hold_scopes(self, quota: Quota) -> tuple[str, ...]:
        pools = [pool.name for pool in quota.pools] or [quota.name]
        return *self._scopes.all(), *(pool_scope(name) for name in pools)

    def _known_ms(self, quota: Quota, now_s: float) -> list[int]:
        """Per limit the server's time of the latest grant here, 0 where that is longer ago than its window."""
        known = quota.known(now_s)
        return [
            self._granted_ms.get(limit.key, 0) if is_known else 0
            for limit, is_known in zip(quota.limits, known, strict=True)
        ]

    def _note_grants(self, quota: Quota, packs: Sequence[Pack], granted_ms: int) -> None:
        if not packs:
            return
        quota.note_grant(elapsed_s())
        for limit in quota.limits:
            if any(limit.cost(pack.cost) for pack in packs):
                self._granted_ms[limit.key] = granted_ms
