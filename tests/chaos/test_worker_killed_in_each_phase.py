"""A worker that is killed just then: in every phase of its requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Command, Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.forwarder import Forwarder, Piece
from support.ledger_steps import is_finish, is_finished, is_taken
from support.process_trees import kill_tree

LINES = 48
KEY = sim_key("a", "40/1 second")

MakeWay = Callable[..., Forwarder]


@pytest.fixture
def make_way() -> Iterator[MakeWay]:
    """Ways that are closed with the test."""
    with ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(Forwarder(*given, **named))


def begin(place: Place, start_sim: StartSim, broker: ServerProcess, *, latency_ms: float = 20) -> FleetCase:
    config = SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=latency_ms))
    return FleetCase.begin(place, broker, start_sim, config, LINES)


@dataclass(frozen=True)
class Death:
    """What the only worker had done when it was killed, and the provider's counts at the job's end."""

    before: dict[str, Any]
    outcomes: int
    """Requests that had an outcome when it died."""
    stats: dict[str, Any]

    @property
    def answers(self) -> int:
        """Answers that the worker got."""
        found: int = self.before["by_status"].get("200", 0)
        return found


def kill_at(case: FleetCase, make_way: MakeWay, freezes_at: Callable[[Piece], bool]) -> Death:
    """Kill the only worker at a step of its talk with the broker."""
    way = make_way(case.broker.socket_path, at=case.place.directory / "way.sock", freezes_at=freezes_at)
    worker = case.start_worker(KEY, broker_url=way.url)
    command = case.start_run()
    assert way.frozen.wait(20), "the step never came"
    wait_until(lambda: not case.in_flight, "the calls under way have ended")
    return kill(case, worker, command, way)


def kill(case: FleetCase, worker: Command, command: Command, way: Forwarder | None = None) -> Death:
    """Kill the only worker, and let another bring the job to its end: it calls for nothing that has an outcome."""
    kill_tree(worker.pid)
    if way is not None:
        way.close()
    wait_until(lambda: not case.in_flight, "the provider has seen that the worker left")
    before, outcomes = case.sim.stats(), case.wait_until_collected()
    assert outcomes < LINES, "the job was over before"
    case.start_worker(KEY)
    stats = case.assert_ends(command, repeats=before["requests"] - outcomes)
    assert stats["requests"] == before["requests"] + LINES - outcomes, "not every request was called for anew once"
    return Death(before, outcomes, stats)


def test_what_was_leased_and_reserved_when_its_worker_died_is_sent_once(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    death = kill_at(begin(place, start_sim, broker), make_way, is_taken)
    assert (death.before["requests"], death.stats["requests"]) == (0, LINES)


def test_what_a_worker_was_about_to_send_when_it_died_is_sent_once(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    case = begin(place, start_sim, broker)
    way = make_way(case.sim_address, freezes_at=lambda piece: True)
    worker = case.start_worker(KEY, base_url=way.base_url)
    command = case.start_run()
    assert way.frozen.wait(20), "no call was made"
    death = kill(case, worker, command, way)
    assert (death.before["requests"], death.stats["requests"]) == (0, LINES)


def test_of_the_calls_of_a_worker_that_died_only_those_in_flight_are_made_twice(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    case = begin(place, start_sim, broker, latency_ms=600)
    worker = case.start_worker(KEY)
    command = case.start_run()
    wait_until(lambda: case.in_flight >= 10, "calls are under way")
    death = kill(case, worker, command)
    assert death.before["by_status"]["client_left"] >= 10


def test_answers_that_died_with_their_worker_are_asked_for_again(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    death = kill_at(begin(place, start_sim, broker), make_way, is_finish)
    assert death.outcomes == 0
    assert death.stats["sent_after_success"] == death.answers > 0


def test_an_outcome_that_was_written_as_its_worker_died_stays_the_only_one(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    death = kill_at(begin(place, start_sim, broker), make_way, is_finished)
    assert death.outcomes > 0
    assert death.stats["sent_after_success"] == death.answers - death.outcomes
