"""One call with everything around it made up: provider, delivery, limiter and clock."""

from __future__ import annotations

import json
from typing import Any, cast

from keyfleet.contract import AttemptError
from keyfleet.ledger import JobOptions, Taken
from keyfleet_workers.binding import Quota
from keyfleet_workers.cooldowns import Cooldowns
from keyfleet_workers.dispatch.calls import CallRunner, ChunkCounts
from keyfleet_workers.dispatch.delivery import Delivery, HandBack, Settle
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.taker import Grant
from keyfleet_workers.limiter import ExactRedisStorage, QuotaLimit, Settlement
from keyfleet_workers.provider import Answer, ProviderClient

__all__ = ["COST", "SECRET", "CallCase", "CallClock", "handed_back"]

LIMITS = (QuotaLimit("r", "requests", 60, 60_000, 100), QuotaLimit("t", "tokens", 1000, 10_000, 100))

SECRET = "sk-very-secret"

COST = 40
"""Tokens that were reserved for the call."""


class CallClock:
    """The monotonic clock, which goes on as a test says."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Provider:
    """Answers a call as it is told to, after `latency_s`."""

    def __init__(self, clock: CallClock) -> None:
        self._clock = clock
        self.status = 200
        self.document: Any = {"usage": {"total_tokens": 30}}
        self.headers: dict[str, str] = {"x-request-id": "req-1"}
        self.error: Exception | None = None
        self.latency_s = 1.0
        self.written_after_s = 0.0
        self.sent: list[tuple[str, bytes, float]] = []

    def post(self, endpoint: str, body: bytes, *, read_timeout_s: float) -> Answer:
        self.sent.append((endpoint, body, read_timeout_s))
        written_s = self._clock.now_s + self.written_after_s
        self._clock.now_s += self.latency_s
        if self.error is not None:
            raise self.error
        return Answer(self.status, self.headers, json.dumps(self.document).encode(), written_s, self._clock.now_s)


class CallCase:
    """A runner with one request in hand, granted at 100.0 s, which is 5,000 ms of the server's time."""

    def __init__(
        self, clock: CallClock, *, limits: tuple[QuotaLimit, ...] = LIMITS, key_timeout_s: float | None = None
    ):
        self.clock = clock
        self.provider = Provider(clock)
        self.delivered: list[tuple[str, Any, bytes]] = []
        self.settled: list[Settlement] = []
        self.storage_error: Exception | None = None
        self.rests: list[tuple[str, str, int]] = []
        self.held = HeldRequests(30.0)
        self.slots = CallSlots(4, 4)
        self.counts = ChunkCounts()
        self.grant = Grant(Quota("quota", limits), 5000, clock.now_s)
        self.attempts: tuple[AttemptError, ...] = ()
        self.options = JobOptions()
        self.runner = CallRunner(
            key_name="one",
            client=cast(ProviderClient, self.provider),
            delivery=cast(Delivery, self),
            held=self.held,
            slots=self.slots,
            storage=cast(ExactRedisStorage, self),
            cooldowns=cast(Cooldowns, self),
            key_timeout_s=key_timeout_s,
            without_secrets=lambda text: text.replace(SECRET.encode(), b"***"),
        )

    def put(self, queue: str, result: Any, record: bytes = b"") -> None:
        self.delivered.append((queue, result, record))

    def settle(self, limits: tuple[QuotaLimit, ...], settlements: list[Settlement]) -> None:
        if self.storage_error is not None:
            raise self.storage_error
        self.settled += settlements

    def set(self, scope: str, reason: str, rest_ms: int) -> None:
        self.rests.append((scope, reason, rest_ms))

    def set_key(self, reason: str, rest_ms: int) -> None:
        self.rests.append(("key", reason, rest_ms))

    @property
    def taken(self) -> Taken:
        body = b'{"prompt":"p"}'
        return Taken(
            *("job:1", "token", COST, b"header\n" + body, "/v1/completions", "m", body, {}),
            options=self.options,
            attempts=self.attempts,
        )

    def run(self) -> None:
        """Run the call as a chunk has it run, and check what must hold however it ends."""
        taken = self.taken
        self.held.hold("q", taken.key, taken.token, self.grant.asked_s)
        self.slots.acquire(1)
        self.counts.begin()
        self.runner.run("q", taken, self.grant, self.counts)
        self.check_end()

    def check_end(self) -> None:
        self.counts.wait()
        assert self.slots.used == 0
        assert len(self.held) == 0
        assert len(self.results()) == 1

    def results(self) -> list[Any]:
        return [result for queue, result, _ in self.delivered if not isinstance(result, Settle)]

    def settlements(self) -> list[Settlement]:
        return [result.settlement for _, result, _ in self.delivered if isinstance(result, Settle)]


def handed_back(case: CallCase) -> bool:
    """Whether the call led to nothing but its request going back."""
    return case.results() == [HandBack("job:1", "token")]
