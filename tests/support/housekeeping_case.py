"""A worker's housekeeping on a stand-in server, with everything around it played."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import pytest
import redis

from keyfleet.broker import ServerWatch
from keyfleet.config import Environment, KeyConfig, ModelLimits, ModelSettings, SecretReference, parse_limits
from keyfleet.contract import Request
from keyfleet.ledger import Finish, JobLedger, JobOptions, Transitions
from keyfleet.redis_keys import QueueKeys
from keyfleet.tickets import TicketOffice
from keyfleet_workers.asked_probe import AskedProbe
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.consumption import Consumption
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.delivery import Delivery
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.holds import Hold, Holds, KeyScopes, KeyState
from keyfleet_workers.housekeeping import Housekeeping
from keyfleet_workers.key_watch import KeyWatch
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.model_lists import ModelLists
from keyfleet_workers.output_means import OutputMeans
from keyfleet_workers.provider import Answer, ProviderClient, Verdict
from keyfleet_workers.worker_status import WorkerStatus

if TYPE_CHECKING:
    from support.stand_in import StandIn

__all__ = ["FLEET", "LEASE_MS", "SECRET", "HousekeepingCase", "housekeeping"]

FLEET = "main"
LEASE_MS = 30_000
SECRET = "sk-very-secret-0123456789"


class Calls:
    """Stands for the runner of calls."""

    def __init__(self) -> None:
        self.totals = {"succeeded": 3}
        self.errors = {"rate_limited": 2}
        self.sent = 0
        self.tokens = 0


class HousekeepingCase:
    """A worker's housekeeping on a stand-in server. Its key serves the models `a*`, up to 100 tokens a minute."""

    def __init__(self, stand_in: StandIn, client: redis.Redis, name: str = "one") -> None:
        self.clock = stand_in.clock
        self.client = client
        models = {"a*": ModelSettings(ModelLimits(parse_limits(["60/minute"]), parse_limits(["100/minute"])))}
        key = KeyConfig(name, SecretReference("${KEY}"), models=models)
        self.binding = KeyBinding(key, Environment({"KEY": SECRET}))
        self.transitions = Transitions(client, FLEET, lease_ms=LEASE_MS, declare_flags=False)
        self.ledger = JobLedger(client, FLEET, "job", JobOptions(), declare_flags=False)
        self.storage = ExactRedisStorage(
            "keyfleet+redis://stand-in", connection_pool=client.connection_pool, declare_flags=False
        )
        self.consumption = Consumption()
        self.tickets: list[str] = []
        self.ticket_error: Exception | None = None
        self.finished: list[tuple[str, Finish]] = []
        self.waits = Waits()
        self.stopping = threading.Event()
        self.calls = Calls()
        self.present: Hold | None = None
        self.leaves = False
        self.watch = ServerWatch()
        self.swept = threading.Semaphore(0)
        self.sweep_errors: list[Exception] = []
        self.probes: list[Verdict] = []
        self.holds = Holds(client, declare_flags=False)
        self.scopes = KeyScopes("fingerprint", None, "host")
        probe = AskedProbe(client, FLEET, name, self.scopes, lambda: self.probes.pop(0), declare_flags=False)
        self.housekeeping = Housekeeping(
            client=client,
            watch=self.watch,
            fleet=FLEET,
            worker_id=f"{name}:host:1:abc",
            binding=self.binding,
            transitions=self.transitions,
            consumption=self.consumption,
            delivery=cast(Delivery, self),
            tickets=cast(TicketOffice, self),
            status=WorkerStatus(
                client=client,
                fleet=FLEET,
                worker_id=f"{name}:host:1:abc",
                host="host",
                binding=self.binding,
                storage=self.storage,
                calls=cast(CallRunner, self.calls),
                slots=CallSlots(4, 4),
                waits=self.waits,
                key_watch=cast(KeyWatch, self),
                probe=probe,
                declare_flags=False,
            ),
            key_watch=cast(KeyWatch, self),
            asked_probe=probe,
            learner=LimitLearner(client, self.binding),
            outputs=OutputMeans(client, declare_flags=False),
            models=ModelLists(client, FLEET, self.binding, cast(ProviderClient, self)),
            sweep=self.sweep,
            stopping=self.stopping,
        )

    def sweep(self) -> None:
        self.swept.release()
        if self.sweep_errors:
            raise self.sweep_errors.pop()

    def get(self, path: str, *, read_timeout_s: float) -> Answer:
        """As the key's provider."""
        return Answer(200, {}, b'{"data": [{"id": "a1"}, {"id": "b1"}]}', 0.0, 0.0)

    def put(self, queue: str, finish: Finish) -> None:
        self.finished.append((queue, finish))

    def issue(self, queue: str) -> None:
        if self.ticket_error is not None:
            raise self.ticket_error
        self.tickets.append(queue)

    def accept(self, queue: str, count: int) -> None:
        self.ledger.accept(queue, [Request(str(number), "/v1/x", queue, b"{}", 1) for number in range(count)])

    def beat(self, *, says_status: bool = False) -> None:
        self.housekeeping.look(says_status=says_status)

    @property
    def state(self) -> tuple[KeyState, bool]:
        return KeyState.READY if self.present is None else self.present.state, self.leaves

    def look(self, now_ms: int) -> None:
        """As what watches the key: there is nothing to see."""

    def look_for(self, duration_ms: int, step_ms: int = 500) -> None:
        """Look on and on, as the thread does."""
        for _ in range(0, duration_ms, step_ms):
            self.clock.advance_ms(step_ms)
            self.beat()

    def ledger_delays(self, queue: str) -> None:
        """A call of the queue's request has failed, and its backoff lasts a second."""
        keys = QueueKeys(FLEET, queue)
        self.client.zrem(keys.ready_bulk, "job:0")
        self.client.zadd(keys.delayed, {"job:0": self.clock.now_ms + 1000})

    def abandon(self, queue: str, request_id: str) -> None:
        """A worker takes a request, and is gone."""
        keys, name = QueueKeys(FLEET, queue), f"job:{request_id}"
        self.client.zrem(keys.ready_bulk, name)
        self.client.zadd(keys.running, {name: self.clock.now_ms + LEASE_MS})
        self.client.hset(keys.leases, name, "gone")


@pytest.fixture
def housekeeping(stand_in: StandIn) -> Iterator[HousekeepingCase]:
    """A worker's housekeeping on a server of its own, stopped afterwards."""
    case = HousekeepingCase(stand_in, stand_in.client())
    yield case
    case.stopping.set()
