"""Processes of a job killed, all at once or some of them, and the same command again."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from keyfleet.sim import SimConfig, SimKey, SimLatency, SimProcess
from support import (
    Command,
    Place,
    bare_line,
    children_of,
    lines_answered,
    signal_all,
    sim_key,
    wait_until,
    write_lines,
    written_lines,
)
from support.fixtures import StartSim

LINES = 160
KEYS = (sim_key("a", "40/1 second"), sim_key("b", "20/1 second"))
LEASE = {"KEYFLEET_LEASE_S": "2"}


def begin(place: Place, start_sim: StartSim, keys: tuple[SimKey, ...] = KEYS) -> tuple[SimProcess, Command, Path]:
    """A job that takes some seconds, once a quarter of it is written."""
    sim = start_sim(SimConfig(keys=keys, latency=SimLatency(latency_ms=100, jitter_ms=80)))
    place.settings.update(LEASE)
    place.write_keys(sim, keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    output = place.directory / "in_results.jsonl"
    command = place.start("run", "in.jsonl")
    wait_until(lambda: written_lines(output) >= LINES // 4, "a quarter of the job is written")
    return sim, command, output


def workers_of(place: Place) -> list[int]:
    """The worker processes, one for each key."""
    supervisor, *_ = place.pids("-m keyfleet worker --all")  # the oldest: its children may look like it
    workers = children_of(supervisor)
    assert len(workers) == len(KEYS)
    return workers


def repeats(stats: dict[str, Any]) -> int:
    found: int = stats["sent_after_success"] + stats["concurrent_duplicates"]
    return found


def test_a_producer_that_was_killed_is_resumed_without_sending_anything_twice(
    place: Place, start_sim: StartSim
) -> None:
    sim, command, output = begin(place, start_sim)
    command.signal(signal.SIGKILL)
    command.wait()
    resumed = place.run("run", "in.jsonl")
    assert resumed.code == 0, resumed.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert (repeats(stats), stats["over_limit"]) == (0, 0)
    place.wait_until_empty()


def test_a_job_goes_on_to_its_end_when_a_worker_is_killed(place: Place, start_sim: StartSim) -> None:
    sim, command, output = begin(place, start_sim)
    in_flight = sim.stats()["in_flight_peak"]
    signal_all(workers_of(place)[:1], signal.SIGKILL)
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert repeats(stats) <= in_flight
    assert stats["over_limit"] == 0


def test_a_job_goes_on_to_its_end_when_all_its_workers_are_killed(place: Place, start_sim: StartSim) -> None:
    sim, command, output = begin(place, start_sim)
    in_flight = sim.stats()["in_flight_peak"]
    signal_all(workers_of(place), signal.SIGKILL)
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert repeats(stats) <= in_flight
    assert stats["over_limit"] == 0


def test_a_job_of_which_everything_was_killed_at_once_is_resumed(place: Place, start_sim: StartSim) -> None:
    sim, _, output = begin(place, start_sim)
    in_flight = sim.stats()["in_flight_peak"]
    place.kill_all()
    resumed = place.run("run", "in.jsonl")
    assert resumed.code == 0, resumed.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert repeats(stats) <= in_flight
    assert stats["over_limit"] == 0
    place.wait_until_empty()


def test_a_job_goes_on_to_its_end_when_its_embedded_server_is_killed(place: Place, start_sim: StartSim) -> None:
    sim, command, output = begin(place, start_sim)
    signal_all([place.server_pid()], signal.SIGKILL)
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert (repeats(stats), stats["over_limit"]) == (0, 0)
    place.wait_until_empty()


def test_a_job_goes_on_to_its_end_when_its_embedded_server_and_guardian_are_killed(
    place: Place, start_sim: StartSim
) -> None:
    sim, command, output = begin(place, start_sim)
    signal_all([place.guardian_pid(), place.server_pid()], signal.SIGKILL)
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert (repeats(stats), stats["over_limit"]) == (0, 0)
    place.wait_until_empty()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_ends_the_run_in_order_and_the_same_command_completes_it(
    place: Place, start_sim: StartSim, number: signal.Signals
) -> None:
    sim, command, output = begin(place, start_sim)
    command.signal(number)
    assert command.wait() == 130, command.stderr
    assert command.said("Ctrl-C again stops at once")
    assert command.said("the same command goes on where this one stopped")
    stopped = sim.stats()
    assert (stopped["in_flight"], stopped["by_status"]) == (0, {"200": stopped["requests"]})
    assert sum(lines_answered(output).values()) == stopped["requests"] < LINES
    resumed = place.run("run", "in.jsonl")
    assert resumed.code == 0, resumed.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert (repeats(stats), stats["over_limit"]) == (0, 0)


def test_an_interrupt_while_the_run_starts_ends_it_with_the_code_for_it(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=KEYS))
    place.write_keys(sim, KEYS)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, 41)])
    command = place.start("run", "in.jsonl")
    command.wait_until_said("keys: 2 from ./keys.yaml")
    command.signal(signal.SIGINT)
    assert command.wait() == 130, command.stderr
    place.wait_until_empty()
    assert place.run("run", "in.jsonl").code == 0
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, 41))
    assert repeats(sim.stats()) == 0


def test_two_interrupts_end_the_run_at_once_and_what_was_paid_for_is_kept(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a", "20/1 second"),)
    sim = start_sim(SimConfig(keys=keys, latency=SimLatency(latency_ms=3000)))
    place.settings.update(LEASE)
    place.write_keys(sim, keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, 61)])
    command = place.start("run", "in.jsonl")
    wait_until(lambda: sim.stats()["in_flight"] >= 10, "calls are under way")
    command.signal(signal.SIGINT)
    command.wait_until_said("stopping: waiting for the calls under way")
    command.signal(signal.SIGINT)
    assert command.wait() == 130, command.stderr
    assert sim.stats()["in_flight"], "it waited for the calls under way"
    resumed = place.run("run", "in.jsonl")
    assert resumed.code == 0, resumed.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, 61))
    stats = sim.stats()
    assert (repeats(stats), stats["over_limit"]) == (0, 0)
