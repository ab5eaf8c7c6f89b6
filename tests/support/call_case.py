"""One call with everything around it made up: provider, delivery, limiter and clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
import redis

from keyfleet.config import Environment, KeyConfig, SecretReference
from keyfleet.contract import AttemptError
from keyfleet.ledger import JobOptions, Taken, Transitions
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch import calls, charges, held, key_health, trouble
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.charges import Charges
from keyfleet_workers.dispatch.chunk_counts import ChunkCounts
from keyfleet_workers.dispatch.delivery import Correct, Delivery, HandBack, Settle
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.key_health import KeyHealth
from keyfleet_workers.dispatch.packs import Pack
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.streamed_calls import StreamedCalls
from keyfleet_workers.dispatch.taker import Grant
from keyfleet_workers.holds import Holds, KeyScopes, KeyState
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.limiter import Correction, ExactRedisStorage, QuotaLimit, Settlement
from keyfleet_workers.limiter.ramps import Ramps
from keyfleet_workers.metrics import NO_METER, Meter
from keyfleet_workers.output_means import OutputMeans
from keyfleet_workers.provider import Answer, ProviderClient, SaidLimit
from keyfleet_workers.provider.ongoing_call import OngoingCall
from keyfleet_workers.quota_pools import Quota

__all__ = ["COST", "SECRET", "CallCase", "CallClock", "clock", "handed_back"]

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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> CallClock:
    """A clock that everything about a call goes by."""
    clock = CallClock()
    for module in (calls, charges, held, key_health, trouble):
        monkeypatch.setattr(module, "elapsed_s", clock)
    return clock


class Provider:
    """Answers a call as it is told to, after `latency_s`."""

    def __init__(self, clock: CallClock) -> None:
        self._clock = clock
        self.status = 200
        self.document: Any = {"usage": {"total_tokens": 30}}
        self.body: bytes | None = None
        """In place of the document."""
        self.headers: dict[str, str] = {"x-request-id": "req-1"}
        self.error: Exception | None = None
        self.latency_s = 1.0
        self.lasts_s = 30.0
        self.written_after_s = 0.0
        self.sent: list[tuple[str, bytes, float]] = []
        self.models: list[str | None] = []
        self.ongoing: OngoingCall | None = None

    def post(
        self,
        endpoint: str,
        body: bytes,
        *,
        read_timeout_s: float,
        model: str | None = None,
        ongoing: OngoingCall | None = None,
    ) -> Answer:
        self.ongoing = ongoing
        self.models.append(model)
        self.sent.append((endpoint, body, read_timeout_s))
        written_s = self._clock.now_s + self.written_after_s
        self._clock.now_s += self.latency_s
        if self.error is not None:
            raise self.error
        body = json.dumps(self.document).encode() if self.body is None else self.body
        return Answer(self.status, self.headers, body, written_s, self._clock.now_s)

    def stream(self, ongoing: OngoingCall, on_begun: Callable[[Answer], None]) -> Answer:
        """The answer begins after `latency_s`, and lasts for `lasts_s`; then it ends, or breaks off with the error."""
        written_s = self._clock.now_s
        self._clock.now_s += self.latency_s
        begun_s = self._clock.now_s
        ongoing.has_begun = True
        on_begun(Answer(self.status, self.headers, b"", written_s, begun_s, begun_s))
        self._clock.now_s += self.lasts_s
        if self.error is not None:
            raise self.error
        document = json.dumps(self.document).encode()
        return Answer(self.status, self.headers, document, written_s, self._clock.now_s, begun_s)


class Outputs:
    """Takes note of outputs."""

    def __init__(self, noted: list[tuple[str, Any]]) -> None:
        self._noted = noted

    def note(self, model: str, document: Any) -> None:
        self._noted.append((model, document))


class CallCase:
    """A runner with one request in hand, granted at 100.0 s, which is 5,000 ms of the server's time."""

    def __init__(
        self,
        clock: CallClock,
        *,
        limits: tuple[QuotaLimit, ...] = LIMITS,
        left: tuple[int, ...] = (),
        foreign: tuple[int, ...] = (),
        learns_on: redis.Redis | None = None,
        meter: Meter = NO_METER,
        **key: Any,
    ):
        """`key` are further fields of the key; `left` and `foreign` are what the grant tells of each limit. With a
        server to learn on, the grant is on the key's own limits, and what answers tell of them is learned."""
        self.clock = clock
        self.binding = KeyBinding(KeyConfig("one", SecretReference(SECRET), **key), Environment({}))
        self.scopes = KeyScopes(self.binding.fingerprint, self.binding.group, "host")
        self.other_keys_serve = False
        self.left_alone_ms: list[int] = []
        self.ceilings: list[SaidLimit] = []
        self.slowed: list[tuple[str, int]] = []
        self.noted_outputs: list[tuple[str, Any]] = []
        self.provider = Provider(clock)
        self.delivered: list[tuple[str, Any, bytes]] = []
        self.settled: list[Settlement] = []
        self.corrected: list[Correction] = []
        self.storage_error: Exception | None = None
        self.rests: list[tuple[str, str, int | None]] = []
        self.held = HeldRequests(30.0)
        self.slots = CallSlots(4, 4)
        self.counts = ChunkCounts()
        self.grant = Grant(Quota("quota", limits), 5000, clock.now_s, left, foreign)
        self.attempts: tuple[AttemptError, ...] = ()
        self.streams = False
        self.options = JobOptions()
        self.cost_images = 0
        self.streams = False
        self.at_beginning: tuple[list[Correction], list[Settlement]] | None = None
        """What was corrected and charged when a streamed answer had begun."""
        self.on_begun: Callable[[], None] = lambda: None
        delivery = cast(Delivery, self)
        learner = cast(LimitLearner, self)
        if learns_on is not None:
            learner = LimitLearner(learns_on, self.binding)
            self.grant = Grant(self.binding.quota("m"), 5000, clock.now_s)
        self.health = KeyHealth(
            key_name="one",
            scopes=self.scopes,
            holds=cast(Holds, self),
            ramps=cast(Ramps, self),
            learner=learner,
            transitions=cast(Transitions, self),
        )
        self.runner = CallRunner(
            binding=self.binding,
            client=cast(ProviderClient, self.provider),
            delivery=delivery,
            held=self.held,
            slots=self.slots,
            charges=Charges(self.binding, cast(ExactRedisStorage, self), delivery),
            health=self.health,
            learner=learner,
            outputs=cast(OutputMeans, Outputs(self.noted_outputs)),
            streamed=cast(StreamedCalls, self),
            meter=meter,
        )

    def put(self, queue: str, result: Any, record: bytes = b"") -> None:
        self.delivered.append((queue, result, record))

    def settle(self, limits: tuple[QuotaLimit, ...], settlements: list[Settlement]) -> None:
        if self.storage_error is not None:
            raise self.storage_error
        self.settled += settlements

    def correct(self, limits: tuple[QuotaLimit, ...], corrections: tuple[Correction, ...]) -> None:
        if self.storage_error is not None:
            raise self.storage_error
        self.corrected += corrections

    # As what makes streamed calls.
    def call(
        self,
        queue: str,
        taken: Taken,
        read_timeout_s: float,
        ongoing: OngoingCall,
        on_begun: Callable[[Answer], None],
    ) -> Answer:
        if self.provider.status != 200:
            return self.provider.post(taken.endpoint, taken.body, read_timeout_s=read_timeout_s, ongoing=ongoing)

        def note_begun(head: Answer) -> None:
            on_begun(head)
            self.counts.wait_for_answers()
            self.at_beginning = (list(self.corrected), list(self.settled))
            self.on_begun()

        return self.provider.stream(ongoing, note_begun)

    # As holds, ramps, what learns limits, and the ledger.
    def set(self, scope: str, state: KeyState, reason: str, rest_ms: int | None) -> bool:
        self.rests.append((scope, f"{state.value}: {reason}", rest_ms))
        return True

    def slow_down(self, pool: str, granted_ms: int) -> None:
        self.slowed.append((pool, granted_ms))

    def is_not_first(self, quota: Quota) -> None:
        """Nobody waits here."""

    def may_be_first(self, quota: Quota) -> bool:
        return True

    def is_met(self, quota: Quota) -> bool:
        return True

    def note(self, quota: Quota, reports: Any, *, is_success: bool) -> None:
        """Nothing is learned here."""

    def note_ceiling(self, quota: Quota, said: SaidLimit) -> None:
        self.ceilings.append(said)

    def lose_model(self, queue: str, key_name: str, rest_ms: int, *, alone_ms: int = 0) -> bool:
        self.left_alone_ms.append(alone_ms)
        return self.other_keys_serve

    @property
    def taken(self) -> Taken:
        body = b'{"prompt":"p"}'
        return Taken(
            *("job:1", "token", COST, b"header\n" + body, "/v1/completions", "m", body, {}),
            options=self.options,
            attempts=self.attempts,
            cost_images=self.cost_images,
            streams=self.streams,
        )

    @property
    def pack(self) -> Pack:
        return Pack((self.taken,))

    def run(self) -> None:
        """Run the call as a chunk has it run, and check what must hold however it ends."""
        self.begin()
        self.runner.run("q", self.pack, self.grant, self.counts)
        self.check_end()

    def begin(self) -> None:
        """All that a chunk does before the call."""
        for taken in self.pack.members:
            self.held.hold("q", taken.key, taken.token, self.grant.asked_s)
        self.slots.acquire(1)
        self.counts.begin()

    def check_end(self) -> None:
        self.counts.wait()
        assert self.slots.used == 0
        assert len(self.held) == 0
        assert sorted(result.key for result in self.results()) == sorted(taken.key for taken in self.pack.members)

    def results(self) -> list[Any]:
        return [result for queue, result, _ in self.delivered if not isinstance(result, Settle | Correct)]

    def corrections(self) -> list[Correction]:
        return [one for _, result, _ in self.delivered if isinstance(result, Correct) for one in result.corrections]

    def settlements(self) -> list[Settlement]:
        return [result.settlement for _, result, _ in self.delivered if isinstance(result, Settle)]


def handed_back(case: CallCase) -> bool:
    """Whether the call led to nothing but its request going back."""
    return case.results() == [HandBack("job:1", "token")]
