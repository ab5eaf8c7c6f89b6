"""Fixtures for tests with real processes; a `conftest.py` that wants them imports them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyfleet.sim import SimConfig, SimProcess
from support.breakable_server import BreakableServer
from support.place import Place
from support.server import ServerProcess, running

__all__ = ["StartSim", "breakable_broker", "broker", "place", "start_sim"]

StartSim = Callable[[SimConfig], SimProcess]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where a test types its commands; empty of processes afterwards."""
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def start_sim() -> Iterator[StartSim]:
    """Starts a provider stand-in in a process of its own, which ends with the test."""
    with ExitStack() as stack:
        yield lambda config: stack.enter_context(SimProcess(config))


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server that the test may kill."""
    with running(ServerProcess(tmp_path_factory.mktemp("s"))) as server:
        yield server


@pytest.fixture
def breakable_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BreakableServer]:
    """A real server that the test may also freeze, fill, wipe, or rob of what it wrote last."""
    with running(BreakableServer(tmp_path_factory.mktemp("s"))) as server:
        yield server
