"""Fleets in the test's own process, in the place of one test."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Protocol

import pytest

from keyfleet import Fleet
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimKey, SimProcess
from support.events import wait_until
from support.fixtures import StartSim
from support.place import Place
from support.server import ServerProcess

__all__ = ["CHAT", "MODEL", "MakeFleet", "SharedFleet", "chat", "make_fleet"]

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
        self.place.start("worker", "--all", "--broker", self.broker.url, **changed)
        with self.broker.client() as client:
            wait_until(lambda: len(read_fleet_status(client, "main").workers) == len(self.keys), "workers are there")

    def calls(self) -> int:
        """Calls that have arrived at the provider."""
        return sum(int(counts["requests"]) for counts in self.sim.stats()["keys"].values())

    def tokens_in_order(self) -> list[int]:
        """What the calls that are over were charged, in the order in which they arrived."""
        with urllib.request.urlopen(f"{self.sim.base_url}/sim/requests") as answer:
            visits = json.load(answer)["requests"]
        return [visit["tokens"] for visit in sorted(visits, key=lambda visit: visit["arrived_s"])]
