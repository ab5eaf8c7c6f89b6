"""A worker's host that is cut from the network for longer than its leases, and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Command, Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.forwarder import Forwarder, Piece

LINES = 12
KEYS = (sim_key("far", "100/1 second"), sim_key("near", "100/1 second"))
LATENCY_MS = 1500


@dataclass
class Cut:
    """A job of which every answer to the far worker is on its way, and whose calls the near one makes anew."""

    case: FleetCase
    ways: tuple[Forwarder, Forwarder]
    far: Command
    run: Command
    has_spoken: threading.Event
    """Set once the far worker has said what became of a call."""

    def mend(self) -> None:
        """Let the far host back into the network while the near worker's calls are under way."""
        for way in self.ways:
            way.thaw()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def cut_off(case: FleetCase, stack: ExitStack, *options: str) -> Cut:
    """The far worker alone makes all calls, is cut off as the first answer comes, and the near one takes over."""
    far, near = KEYS
    has_spoken = threading.Event()

    def listen(piece: Piece) -> bool:
        if not piece.back and b'"key_name":"far"' in piece.data:
            has_spoken.set()
        return False

    to_broker = stack.enter_context(
        Forwarder(case.broker.socket_path, at=case.place.directory / "way.sock", freezes_at=listen)
    )
    to_provider = stack.enter_context(Forwarder(case.sim_address, freezes_at=lambda piece: piece.back))
    worker = case.start_worker(far, broker_url=to_broker.url, base_url=to_provider.base_url)
    command = case.start_run(*options)
    wait_until(lambda: case.calls("far") == LINES, "the far worker has made all calls")
    case.start_worker(near)
    assert to_provider.frozen.wait(20), "no call was answered"
    to_broker.freeze()
    wait_until(lambda: case.sim.stats()["requests"] == 2 * LINES, "the near worker has made the calls anew")
    return Cut(case, (to_broker, to_provider), worker, command, has_spoken)


@pytest.mark.parametrize("max_attempts", ["1", "5"])
def test_a_failure_that_comes_late_does_not_disturb_who_has_the_request_now(
    place: Place, start_sim: StartSim, broker: ServerProcess, stack: ExitStack, max_attempts: str
) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=LATENCY_MS))
    case = FleetCase.begin(place, broker, start_sim, config, LINES, text_of=lambda number: "[[sim:500x1]]")
    cut = cut_off(case, stack, "--max-attempts", max_attempts)
    cut.mend()
    assert cut.has_spoken.wait(10), "the far worker never said that its calls had failed"
    assert case.in_flight == LINES, "the near worker's calls were over before"
    stats = case.assert_ends(cut.run)
    assert stats["by_status"] == {"500": LINES, "200": LINES}
    assert cut.far.code is None


def test_an_answer_that_comes_late_is_taken_where_there_is_none_yet(
    place: Place, start_sim: StartSim, broker: ServerProcess, stack: ExitStack
) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=LATENCY_MS))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)
    cut = cut_off(case, stack)
    cut.mend()
    wait_until(lambda: case.written == LINES, "all answers are written")
    assert case.in_flight == LINES, "the near worker's calls were over before"
    stats = case.assert_ends(cut.run, repeats=LINES)
    assert stats["sent_after_success"] == LINES
    assert cut.far.code is None


def test_an_answer_that_comes_late_is_dropped_where_there_is_one(
    place: Place, start_sim: StartSim, broker: ServerProcess, stack: ExitStack
) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=LATENCY_MS))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)
    cut = cut_off(case, stack)
    wait_until(lambda: case.written == LINES, "all answers are written")
    assert not cut.has_spoken.is_set()
    cut.mend()
    assert cut.has_spoken.wait(10), "the far worker never brought its answers"
    case.assert_ends(cut.run, repeats=LINES)
    assert cut.far.code is None
