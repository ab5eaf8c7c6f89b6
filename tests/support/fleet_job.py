"""A job on a server that a test breaks, with a worker for each key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.breakable_server import BreakableServer
from support.commands import Command
from support.events import wait_until
from support.fleet_case import FLEET, FleetCase

__all__ = ["FLEET", "QUEUE", "FleetJob", "StartJob"]

QUEUE = "sim-model"
"""The queue of the lines' model."""


@dataclass
class FleetJob(FleetCase):
    """A case that knows its workers and its producers."""

    broker: BreakableServer
    workers: dict[str, Command] = field(default_factory=dict)

    def start_workers(self) -> None:
        """Start a worker for each key, and wait until all are there."""
        for key in self.keys:
            self.workers[key.name] = self.start_worker(key)
        self.wait_for_workers(len(self.keys))

    def wait_until_written(self, share: float) -> None:
        """Wait until this share of the lines has its rows."""
        wanted = int(self.lines * share)
        wait_until(lambda: self.written >= wanted, f"{wanted} lines are written")

    def assert_all_ends(self, command: Command, *, repeats: int = 0) -> dict[str, Any]:
        """`assert_ends`, and no worker has ended by itself."""
        stats = self.assert_ends(command, repeats=repeats)
        ended = {name: worker.code for name, worker in self.workers.items() if worker.code is not None}
        assert not ended, f"workers ended by themselves: {ended}"
        return stats


StartJob = Callable[..., FleetJob]
"""`start_job(lines=, keys=, latency_ms=, jitter_ms=, fsync=)`"""
