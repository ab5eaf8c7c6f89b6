"""The fixture of jobs on servers that break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from keyfleet.sim import SimConfig, SimKey, SimLatency
from support.breakable_server import BreakableServer
from support.fixtures import StartSim
from support.fleet_job import FleetJob, StartJob
from support.place import Place, sim_key
from support.server import running

__all__ = ["KEYS", "start_job"]

KEYS = (sim_key("a", "60/1 second"), sim_key("b", "40/1 second"))


@pytest.fixture
def start_job(place: Place, start_sim: StartSim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartJob]:
    """Starts a server and a provider, and writes the lines and the keys; workers and the run are the test's."""
    with ExitStack() as stack:

        def start(
            *,
            lines: int = 400,
            keys: tuple[SimKey, ...] = KEYS,
            latency_ms: float = 100,
            jitter_ms: float | None = None,
            fsync: str = "everysec",
        ) -> FleetJob:
            broker = stack.enter_context(running(BreakableServer(tmp_path_factory.mktemp("s"), fsync=fsync)))
            jitter_ms = latency_ms / 2 if jitter_ms is None else jitter_ms
            latency = SimLatency(latency_ms=latency_ms, jitter_ms=jitter_ms)
            config = SimConfig(keys=keys, latency=latency)
            return cast(FleetJob, FleetJob.begin(place, broker, start_sim, config, lines))

        yield start
