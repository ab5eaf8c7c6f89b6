"""The fleet that a soak breaks: a server, a provider, workers with a link each, and a producer, kept going."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from support.commands import Command
from support.fleet_job import FleetJob
from support.forwarder import Forwarder
from support.process_trees import kill_tree, tree_of
from support.processes import signal_all

__all__ = ["SoakFleet"]

STARTS_AGAIN_S = 1.0
"""Pause before a producer that found no broker is started again (s)."""


@dataclass
class SoakFleet:
    """What runs, and how many calls may have been made twice since they were in flight when a worker was lost."""

    job: FleetJob
    links: dict[str, Forwarder] = field(default_factory=dict)
    producer: Command | None = None
    may_repeat: int = 0
    surprises: list[str] = field(default_factory=list)
    _producer_due_s: float = 0.0

    def start(self) -> None:
        """Start a worker for each key, over a link of its own, and the producer."""
        for key in self.job.keys:
            path = self.job.place.directory / f"{key.name}.sock"
            self.links[key.name] = Forwarder(self.job.broker.socket_path, at=path)
            self._start_worker(key.name)
        self.job.wait_for_workers(len(self.job.keys))
        self.producer = self.job.start_run()

    def close(self) -> None:
        """End the links; processes are the place's to end."""
        for link in self.links.values():
            link.close()

    def tend(self) -> None:
        """Start again what has ended, as whoever watches over a fleet does."""
        for name, worker in list(self.job.workers.items()):
            if worker.code is not None:
                self._start_worker(name)
        producer = self.producer
        if producer is None or producer.code in (None, 0):
            return
        if producer.code > 0 and not producer.said("broker"):  # below 0 it was killed
            self.surprises.append(f"the producer ended with {producer.code}: {producer.stderr[-300:]}")
        if time.monotonic() >= self._producer_due_s:
            self._producer_due_s = time.monotonic() + STARTS_AGAIN_S
            self.producer = self.job.start_run()

    @property
    def is_done(self) -> bool:
        """Whether the job has ended well."""
        return self.producer is not None and self.producer.code == 0

    def calls(self, name: str) -> tuple[int, int]:
        """Of one key, the calls made so far and those in flight, as its provider sees them."""
        counts: dict[str, Any] = self.job.sim.stats()["keys"].get(name, {"requests": 0, "in_flight": 0})
        return counts["requests"], counts["in_flight"]

    def allow_for(self, name: str, since: tuple[int, int]) -> None:
        """Calls in flight at `since`, and those made after it, may be made again."""
        self.may_repeat += since[1] + self.calls(name)[0] - since[0]

    def uncollected(self, client: redis.Redis) -> int:
        """Lines whose outcomes wait in the server and have no rows yet."""
        waiting = {
            int(fields[b"request"].rpartition(b":")[2])
            for stream in client.scan_iter("*:outcomes")
            for _, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(stream))
        }
        rows = self.job.output.read_bytes().split(b"\n")[:-1] if self.job.output.exists() else []
        written = {int(json.loads(row)[0]["messages"][0]["content"].split()[1]) for row in rows}
        return len(waiting - written)

    def kill_worker(self, name: str) -> None:
        """Kill a worker with all its processes."""
        since = self.calls(name)
        kill_tree(self.job.workers[name].pid)
        self.allow_for(name, since)
        self.job.workers[name].wait()

    def signal_worker(self, name: str, number: signal.Signals) -> None:
        """Send a signal to all processes of a worker."""
        signal_all(tree_of(self.job.workers[name].pid), number)

    def end_worker(self, name: str) -> None:
        """Ask a worker to end in order."""
        with contextlib.suppress(ProcessLookupError):
            self.job.workers[name].signal(signal.SIGTERM)

    def _start_worker(self, name: str) -> None:
        (key,) = (key for key in self.job.keys if key.name == name)
        self.job.workers[name] = self.job.start_worker(key, broker_url=self.links[name].url)
