"""Fleets in the test's own process, in the place of one test."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Protocol, cast

import pytest

from keyfleet import Fleet, redis_keys
from keyfleet.ledger import queue_of
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimKey, SimProcess
from support.commands import Command
from support.events import wait_until
from support.fixtures import StartSim
from support.place import Place
from support.server import ServerProcess

__all__ = ["CHAT", "FLEET", "MODEL", "MakeFleet", "SharedFleet", "chat", "make_fleet"]

FLEET = "main"
MODEL = "sim-model"
CHAT = "/v1/chat/completions"


class MakeFleet(Protocol):
    """Makes a Fleet, which is closed at the test's end."""

    def __call__(self, broker_url: str | None = None, keys: Any = None, **options: Any) -> Fleet: ...


@pytest.fixture
def make_fleet(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeFleet]:
    """Makes Fleets whose environment and directory are those of the place."""
    with ExitStack() as stack:

        def make(broker_url: str | None = None, keys: Any = None, **options: Any) -> Fleet:
            for name, value in place.env.items():
                monkeypatch.setenv(name, value)
            monkeypatch.chdir(place.directory)
            return stack.enter_context(closing(Fleet(broker_url, keys, **options)))

        yield make


def chat(text: str, **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 5, **more}


class SharedFleet:
    """A broker with workers for each key, all processes of their own."""

    def __init__(self, place: Place, broker: ServerProcess, start_sim: StartSim, keys: Sequence[SimKey], **sim: Any):
        self.place = place
        self.broker = broker
        self.sim: SimProcess = start_sim(SimConfig(keys=tuple(keys), **sim))
        self.keys = keys
        place.write_keys(self.sim, keys)

    def start_workers(self, **changed: str) -> None:
        """Start them, and wait until they are there."""
        self.place.start("worker", "--all", "--broker", self.broker.url, stdin=None, before=(), **changed)
        with self.broker.client() as client:
            wait_until(lambda: len(read_fleet_status(client, FLEET).workers) == len(self.keys), "workers are there")

    def start_worker(self, name: str) -> Command:
        """Start the worker of one key, and wait until it is there."""
        with self.broker.client() as client:
            before = len(read_fleet_status(client, FLEET).workers)
            worker = self.place.start("worker", "--key", name, "--broker", self.broker.url)
            wait_until(lambda: len(read_fleet_status(client, FLEET).workers) > before, "the worker is there")
        return worker

    def set_keys(self, action: str) -> None:
        """Enable or disable all keys."""
        for key in self.keys:
            assert self.place.run("keys", action, key.name, "--broker", self.broker.url).code == 0

    def wait_until_ready(self, *, urgent: int = 0, bulk: int = 0) -> None:
        """Wait until so many calls are ready to be taken."""
        keys = QueueKeys(FLEET, queue_of(MODEL))
        with self.broker.client() as client:
            wait_until(
                lambda: (client.zcard(keys.ready_urgent), client.zcard(keys.ready_bulk)) == (urgent, bulk),
                f"{urgent} urgent calls and {bulk} others wait",
            )

    def age_callers(self) -> None:
        """Let all callers have said nothing for longer than they may."""
        with self.broker.client() as client:
            for job_id in cast("list[bytes]", client.zrange(redis_keys.callers(FLEET), 0, -1)):
                client.zincrby(redis_keys.callers(FLEET), -2 * ALIVE_MS, job_id)
                client.hincrby(redis_keys.job(FLEET, job_id.decode()), "seen_ms", -2 * ALIVE_MS)

    def calls(self) -> int:
        """Calls that have arrived at the provider."""
        return sum(int(counts["requests"]) for counts in self.sim.stats()["keys"].values())

    def tokens_in_order(self) -> list[int]:
        """What the calls that are over were charged, in the order in which they arrived."""
        with urllib.request.urlopen(f"{self.sim.base_url}/sim/requests") as answer:
            visits = json.load(answer)["requests"]
        return [visit["tokens"] for visit in sorted(visits, key=lambda visit: visit["arrived_s"])]
