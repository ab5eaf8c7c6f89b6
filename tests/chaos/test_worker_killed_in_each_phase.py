"""A worker that is killed just then: in every phase of its requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
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


def kill_at(
    case: FleetCase, make_way: MakeWay, freezes_at: Callable[[Piece], bool]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The provider's counts when the only worker was killed at a step, and at the job's end, which another brought."""
    way = make_way(case.broker.socket_path, at=case.place.directory / "way.sock", freezes_at=freezes_at)
    worker = case.start_worker(KEY, broker_url=way.url)
    command = case.start_run()
    assert way.frozen.wait(20), "the step never came"
    wait_until(lambda: not case.in_flight, "the calls under way have ended")
    before = case.sim.stats()
    kill_tree(worker.pid)
    way.close()
    case.start_worker(KEY)
    return before, case.assert_ends(command, repeats=before["requests"])


def test_what_was_leased_and_reserved_when_its_worker_died_is_sent_once(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    before, stats = kill_at(begin(place, start_sim, broker), make_way, is_taken)
    assert (before["requests"], stats["requests"]) == (0, LINES)


def test_what_a_worker_was_about_to_send_when_it_died_is_sent_once(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    case = begin(place, start_sim, broker)
    way = make_way(case.sim_address, freezes_at=lambda piece: True)
    worker = case.start_worker(KEY, base_url=way.base_url)
    command = case.start_run()
    assert way.frozen.wait(20), "no call was made"
    kill_tree(worker.pid)
    way.close()
    case.start_worker(KEY)
    assert case.assert_ends(command)["requests"] == LINES


def test_of_the_calls_of_a_worker_that_died_only_those_in_flight_are_made_twice(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    case = begin(place, start_sim, broker, latency_ms=600)
    worker = case.start_worker(KEY)
    command = case.start_run()
    wait_until(lambda: case.in_flight >= 10, "calls are under way")
    kill_tree(worker.pid)
    case.start_worker(KEY)
    stats = case.assert_ends(command, repeats=LINES)
    cut_off = stats["by_status"]["client_left"]
    assert cut_off >= 10
    assert stats["requests"] == LINES + cut_off  # an answer that found nobody was not handed out by the provider


def test_answers_that_died_with_their_worker_are_asked_for_again(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    before, stats = kill_at(begin(place, start_sim, broker), make_way, is_finish)
    assert stats["sent_after_success"] == before["requests"] > 0  # nothing was written before
    assert stats["requests"] == LINES + before["requests"]


def test_an_outcome_that_was_written_as_its_worker_died_stays_the_only_one(
    place: Place, start_sim: StartSim, broker: ServerProcess, make_way: MakeWay
) -> None:
    before, stats = kill_at(begin(place, start_sim, broker), make_way, is_finished)
    assert stats["requests"] < LINES + before["requests"], "nothing was written when the worker died"
    assert stats["sent_after_success"] == stats["requests"] - LINES
