"""A desk of calls on a stand-in server, whose requests a test takes and ends as a worker would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis

from keyfleet.broker import ServerWatch
from keyfleet.calls import CallDesk
from keyfleet.calls.book import Call
from keyfleet.calls.terms import CallTerms
from keyfleet.config import Settings
from keyfleet.contract import AttemptError, Outcome
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import Finish, JobRecord, Transitions
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.backend import Backend
from keyfleet.running.fleet_status import FleetStatus
from support.events import wait_until

if TYPE_CHECKING:
    from support.stand_in import StandIn

__all__ = ["BODY", "CHAT", "FLEET", "QUEUE", "DeskCase"]

FLEET, QUEUE = "main", "m"
CHAT = "/v1/chat/completions"
BODY = b'{"model": "m", "messages": []}'
LEASE_MS = 30_000


class DeskCase(Backend):
    """The desk's backend, and its workers."""

    def __init__(self, stand_in: StandIn, directory: Path, *, grace_s: float = 60.0, **settings: Any) -> None:
        given = Settings(state_dir=directory, broker_url="redis://nowhere", fleet=FLEET, **settings)
        super().__init__(given, None)
        self.client: redis.Redis = stand_in.client()
        self.client.info = lambda section: {"used_memory": 1}  # type: ignore[method-assign, assignment, misc]
        self.watch = ServerWatch()
        self.status: FleetStatus | None = FleetStatus()
        self.transitions = Transitions(self.client, FLEET, lease_ms=LEASE_MS, declare_flags=False)
        self.keys = QueueKeys(FLEET, QUEUE)
        self.desk = CallDesk(self, None, lambda: self.status, grace_s=grace_s, declare_flags=False)
        self.desk.start()

    def connect(self) -> tuple[redis.Redis, ServerWatch]:
        return self.client, self.watch

    def begin(self, **options: Any) -> Call:
        """A call that is in the ledger."""
        call = self.desk.begin(CHAT, BODY, CallTerms(**options))
        wait_until(lambda: call.is_accepted, "the call is accepted")
        return call

    def requests(self) -> list[str]:
        """Ids of the requests in the ledger."""
        return sorted(
            key.partition(b":")[2].decode() for key in cast("list[bytes]", self.client.hkeys(self.keys.places))
        )

    def key_of(self, call: Call) -> str:
        return f"{self.record().job_id}:{call.request.id}"

    def hold(self, call: Call) -> None:
        """A worker takes the request of a call."""
        key = self.key_of(call)
        self.client.zrem(self.keys.ready_urgent, key)
        self.client.hset(self.keys.leases, key, "token")
        self.client.zadd(self.keys.running, {key: 2**50})

    def hand_back(self, call: Call) -> None:
        """The worker returns it unserved."""
        self.transitions.hand_back(QUEUE, [(self.key_of(call), "token")])

    def answer(self, call: Call, body: bytes = b'{"a": 1}') -> None:
        """A worker brings the response."""
        self.finish([Outcome(self.key_of(call), True, 200, body, 1, key_name="one", tokens=3)])

    def fail(self, call: Call, code: str) -> None:
        """It ends with an error of the fleet's own."""
        self.hold(call)
        outcome = Outcome(self.key_of(call), False, None, None, 0, (AttemptError(None, code, "it is"),))
        self.finish([outcome], token="token")

    def finish(self, outcomes: Sequence[Outcome], token: str = "") -> None:
        job_id = self.record().job_id
        self.transitions.finish(QUEUE, job_id, [Finish(outcome.id, token, outcome) for outcome in outcomes])

    def record(self) -> JobRecord:
        (record,) = read_records(self.client, FLEET)
        return record
