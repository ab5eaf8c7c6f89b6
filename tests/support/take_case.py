"""A queue with one job, and a key that takes from it, on a stand-in server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis

from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.dispatch.taker import Taker, TakeResult
from keyfleet_workers.holds import Holds, KeyScopes
from keyfleet_workers.limiter import QuotaLimit
from keyfleet_workers.quota_pools import Quota

if TYPE_CHECKING:
    from support.stand_in import StandIn

__all__ = ["LEASE_MS", "SCOPES", "TakeCase", "calls", "ids", "quota"]

LEASE_MS = 30_000
SCOPES = KeyScopes("fingerprint", "org", "host")


def quota(*, requests: int = 1000, tokens: int = 1000, name: str = "quota") -> Quota:
    return Quota(
        name,
        (
            QuotaLimit(f"{name}:requests", "requests", requests, 1000, 0),
            QuotaLimit(f"{name}:tokens", "tokens", tokens, 1000, 0),
        ),
    )


class TakeCase:
    """One key's taker, and what it takes from."""

    def __init__(self, stand_in: StandIn) -> None:
        self.clock = stand_in.clock
        self.client: redis.Redis = stand_in.client()
        self.job = JobLedger(self.client, "f", "job", JobOptions(), declare_flags=False)
        self.holds = Holds(self.client, declare_flags=False)
        self.taker = self.new_taker("w")
        self.accepted = 0

    def new_taker(self, worker_id: str) -> Taker:
        return Taker(
            *(self.client, "f"),
            worker_id=worker_id,
            key_name="one",
            scopes=SCOPES,
            lease_ms=LEASE_MS,
            declare_flags=False,
        )

    def accept(self, *costs: int, urgent: bool = False, start_within_ms: int = 0, pack: str = "") -> None:
        new = [
            Request(str(self.accepted + n), "/v1/x", "m", b"{}", cost, {}, urgent, start_within_ms, pack)
            for n, cost in enumerate(costs)
        ]
        self.accepted += len(costs)
        assert all(self.job.accept("q", new))

    def take(self, of: Quota, most: int = 100) -> TakeResult:
        return self.taker.take("q", of, most)

    def note_capacity(self, largest_tokens: int, until_ms: int) -> None:
        self.client.hset(QueueKeys("f", "q").capacity, "other", f"{largest_tokens} {until_ms}")


def ids(result: TakeResult) -> Sequence[str]:
    return [taken.key.removeprefix("job:") for taken in result.taken]


def calls(result: TakeResult) -> Sequence[Sequence[str]]:
    """The requests of each call."""
    return [[taken.key.removeprefix("job:") for taken in pack.members] for pack in result.packs]
