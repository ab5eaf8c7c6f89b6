"""A job on a shared broker whose workers are started one by one, each by a way of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from keyfleet import redis_keys
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimKey, SimProcess
from support.commands import Command
from support.events import wait_until
from support.files import bare_line, write_lines, written_lines
from support.fixtures import StartSim
from support.ledger_check import assert_promises_kept
from support.place import Place
from support.server import ServerProcess

__all__ = ["FLEET", "LEASE_S", "FleetCase"]

FLEET = "main"
"""The fleet of these tests: the one that nobody names."""

LEASE_S = 1.5
"""A short lease, for tests that wait until one ends (s)."""


@dataclass
class FleetCase:
    """`sim`, `broker` and `place` of one test, with an input of `lines` lines that is fed once it is run."""

    place: Place
    broker: ServerProcess
    sim: SimProcess
    keys: Sequence[SimKey]
    lines: int

    @classmethod
    def begin(
        cls,
        place: Place,
        broker: ServerProcess,
        start_sim: StartSim,
        config: SimConfig,
        lines: int,
        *,
        text_of: Callable[[int], str] = lambda number: "",
        **fields: Any,
    ) -> FleetCase:
        """`text_of(number)` is put into that line; `fields` are written at every key."""
        case = cls(place, broker, start_sim(config), config.keys, lines)
        place.settings["KEYFLEET_LEASE_S"] = str(LEASE_S)
        place.write_keys(case.sim, config.keys, **fields)
        write_lines(
            place.directory / "in.jsonl", [bare_line(number, text_of(number)) for number in range(1, lines + 1)]
        )
        return case

    @property
    def output(self) -> Path:
        """Where the results come."""
        return self.place.directory / "in_results.jsonl"

    @property
    def written(self) -> int:
        """How many results there are by now."""
        return written_lines(self.output)

    @property
    def in_flight(self) -> int:
        """Calls that the provider has under way now."""
        found: int = self.sim.stats()["in_flight"]
        return found

    def calls(self, name: str, how: str = "requests") -> int:
        """Of a key, its calls that have arrived, or what else the provider counts of it."""
        counts = self.sim.stats()["keys"].get(name)
        return int(counts[how]) if counts else 0

    @property
    def sim_address(self) -> tuple[str, int]:
        """Where the provider listens."""
        host, _, port = self.sim.base_url.removeprefix("http://").partition(":")
        return host, int(port)

    def outcomes_waiting(self) -> int:
        """How many outcomes of all jobs wait to be collected."""
        with self.broker.client() as client:
            jobs = cast("set[bytes]", client.smembers(redis_keys.jobs(FLEET)))
            return sum(cast("int", client.xlen(redis_keys.job_outcomes(FLEET, job.decode()))) for job in jobs)

    def wait_until_collected(self) -> int:
        """How many requests have an outcome, once the producer has written all there are."""
        wait_until(lambda: not self.outcomes_waiting(), "all outcomes are collected")
        return self.written

    def wait_for_workers(self, count: int) -> None:
        """Wait until `count` workers have said that they are there."""
        with self.broker.client() as client:
            wait_until(lambda: len(read_fleet_status(client, FLEET).workers) >= count, f"{count} workers are there")

    def start_worker(
        self, key: SimKey, *, broker_url: str | None = None, base_url: str | None = None, **environment: str
    ) -> Command:
        """A worker that reaches the broker, or the provider, through another address than the usual one."""
        arguments = ["worker", "--key", key.name, "--broker", broker_url or self.broker.url]
        if base_url is not None:
            path = self.place.write_keys(self.sim, self.keys, f"keys-of-{key.name}.yaml", base_url=f"{base_url}/v1")
            arguments += ["--keys", str(path)]
        return self.place.start(*arguments, stdin=None, before=(), **environment)

    def start_run(self, *options: str, broker_url: str | None = None) -> Command:
        """The producer, without workers of its own."""
        broker = broker_url or self.broker.url
        return self.place.start("run", "in.jsonl", "--broker", broker, "--no-workers", *options)

    def assert_ends(self, command: Command, *, repeats: int = 0) -> dict[str, Any]:
        """The job ends well, and every promise is kept. Returns the provider's counts."""
        assert command.wait() == 0, command.stderr
        return assert_promises_kept(self.sim, self.output, self.lines, repeats=repeats)
