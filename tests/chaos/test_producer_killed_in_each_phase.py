"""A producer that is killed just then: feeding, collecting, writing. The same command goes on where it stood."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from keyfleet import redis_keys
from keyfleet.batch.job_paths import JobPaths
from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.forwarder import Forwarder, Piece
from support.ledger_steps import is_accept, is_accepted, is_collected, is_trim
from support.process_trees import kill_tree

LINES = 300
KEY = sim_key("a")
SLOW_KEY = sim_key("a", "80/1 second")

Step = Callable[[Piece], bool]


def once_some_are_accepted(is_step: Step) -> Step:
    """A step of the second batch of requests, so that the job is in the midst of being fed."""
    accepted = threading.Event()

    def is_it(piece: Piece) -> bool:
        if accepted.is_set() and is_step(piece):
            return True
        if is_accepted(piece):
            accepted.set()
        return False

    return is_it


def nothing() -> None:
    """What is done where nothing is."""


def kill_at(
    case: FleetCase,
    is_step: Step,
    *,
    beforehand: Callable[[], object] = nothing,
    afterwards: Callable[[], object] = nothing,
) -> None:
    """Run the producer until a step comes, kill it there once `beforehand` has returned, and check what is resumed."""
    case.start_worker(case.keys[0])
    with Forwarder(case.broker.socket_path, at=case.place.directory / "way.sock", freezes_at=is_step) as way:
        command = case.start_run(broker_url=way.url)
        assert way.frozen.wait(20), "the step never came"
        beforehand()
        kill_tree(command.pid)
    afterwards()
    assert case.written < LINES, "the job was over before"
    assert case.assert_ends(case.start_run())["requests"] == LINES


@pytest.mark.parametrize("is_step", [is_accept, is_accepted])
def test_a_producer_that_died_while_it_fed_has_fed_each_line_once(
    place: Place, start_sim: StartSim, broker: ServerProcess, is_step: Step
) -> None:
    config = SimConfig(keys=(SLOW_KEY,), latency=SimLatency(latency_ms=100))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)

    def calls_are_made() -> None:
        wait_until(lambda: case.in_flight, "calls are under way")

    kill_at(case, once_some_are_accepted(is_step), beforehand=calls_are_made)


def test_outcomes_that_were_on_their_way_when_their_producer_died_are_collected_by_the_next(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    case = FleetCase.begin(place, broker, start_sim, SimConfig(keys=(KEY,)), LINES)

    def all_that_was_accepted_is_over() -> None:
        with broker.client() as client:
            queue = redis_keys.QueueKeys("main", "sim-model")
            wait_until(lambda: not client.hlen(queue.requests), "the workers have ended what was accepted")
        assert case.outcomes_waiting() > 0
        assert case.written == 0

    kill_at(case, is_collected, beforehand=all_that_was_accepted_is_over)


def test_rows_that_were_written_when_their_producer_died_are_not_written_again(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    case = FleetCase.begin(place, broker, start_sim, SimConfig(keys=(KEY,)), LINES)

    def rows_are_written_and_still_in_the_stream() -> None:
        assert 0 < case.written <= case.outcomes_waiting()

    kill_at(case, is_trim, beforehand=rows_are_written_and_still_in_the_stream)


def test_rows_that_were_half_written_when_their_producer_died_are_written_again(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    """As a kill between a row's two halves leaves the files: unit tests kill at every single write."""
    case = FleetCase.begin(place, broker, start_sim, SimConfig(keys=(KEY,)), LINES)
    paths = JobPaths.of(case.output, errors=None)

    def take_back_half_of_the_writing() -> None:
        *earlier, _ = paths.journal.read_bytes().splitlines(keepends=True)
        paths.journal.write_bytes(b"".join(earlier))
        rows = case.output.read_bytes()
        case.output.write_bytes(rows[:-40])

    kill_at(case, is_trim, afterwards=take_back_half_of_the_writing)
