"""A job in the ledger of a stand-in server, with a worker that ends its requests as a test wants."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from keyfleet.contract import AttemptError, Outcome, Request
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import Finish, JobFacts, JobLedger, JobOptions, JobRecord, Transitions
from keyfleet.ledger.codec import request_key
from keyfleet.redis_keys import QueueKeys
from support.stand_in import ServerClock, StandIn

__all__ = ["FLEET", "QUEUE", "JobCase", "failed_outcome"]

FLEET, QUEUE = "f", "m"
LEASE_MS = 30_000


def failed_outcome(key: str, code: str = "bad", *, message: str = "it is", **context: object) -> Outcome:
    error = AttemptError(400, code, message, "key-1", 12.5)
    return Outcome(key, False, 400, None, 1, (error,), "key-1", finished_s=99.5, context=dict(context))


class JobCase:
    """`job_id`s of one fleet share a server."""

    def __init__(self, stand_in: StandIn, job_id: str = "aa11", client: redis.Redis | None = None) -> None:
        self.clock: ServerClock = stand_in.clock
        self.client: redis.Redis = client if client is not None else stand_in.client()
        self.facts = JobFacts(f"{job_id}.jsonl", f"/in/{job_id}.jsonl", f"/out/{job_id}.jsonl", "here", "bare")
        self.ledger = JobLedger(self.client, FLEET, job_id, JobOptions(), facts=self.facts, declare_flags=False)
        self.transitions = Transitions(self.client, FLEET, lease_ms=LEASE_MS, declare_flags=False)
        self.ledger.open(begins=True)

    def accept(self, *numbers: int, **context: object) -> None:
        requests = [Request(str(number), "/v1/x", "m", b"{}", 7, dict(context)) for number in numbers]
        self.ledger.accept(QUEUE, requests)

    def hold(self, number: int) -> None:
        """A worker takes a request."""
        key, keys = self.key(number), QueueKeys(FLEET, QUEUE)
        self.client.zrem(keys.ready_bulk, key)
        self.client.hset(keys.leases, key, "token")
        self.client.zadd(keys.running, {key: self.clock.now_ms + LEASE_MS})

    def delay(self, number: int) -> None:
        """A request is in backoff."""
        key, keys = self.key(number), QueueKeys(FLEET, QUEUE)
        self.client.zrem(keys.ready_bulk, key)
        self.client.zadd(keys.delayed, {key: self.clock.now_ms + 1000})

    def succeed(self, *numbers: int) -> None:
        self.finish([Outcome(self.key(number), True, 200, b"{}", 1) for number in numbers])

    def fail(self, number: int, code: str = "bad", *, message: str = "it is") -> None:
        self.hold(number)
        self.finish([failed_outcome(self.key(number), code, message=message)], token="token")

    def finish(self, outcomes: Sequence[Outcome], token: str = "") -> list[int]:
        finishes = [Finish(outcome.id, token, outcome) for outcome in outcomes]
        return [int(one) for one in self.transitions.finish(QUEUE, self.ledger.job_id, finishes)]

    def key(self, number: int) -> str:
        return request_key(self.ledger.job_id, str(number))

    def record(self) -> JobRecord:
        (record,) = (one for one in read_records(self.client, FLEET) if one.job_id == self.ledger.job_id)
        return record
