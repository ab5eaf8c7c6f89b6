"""Servers and workers killed under jobs that programs have submitted."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest

from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support.commands import Command
from support.events import wait_until
from support.fixtures import StartSim
from support.job_programs import start_job_program, wait_until_printed
from support.ledger_check import limits_exceeded, repeats_in
from support.place import Place, sim_key
from support.processes import children_of, command_line, signal_all

KEYS = (sim_key("a", "60/1 second"), sim_key("b", "40/1 second"))
ROWS = 500

PROGRAM = f"""
with Fleet() as fleet:
    say("indices", json.dumps([r.index for r in fleet.map(rows({ROWS}), ordered=ORDERED) if r.ok]))
"""


@pytest.fixture
def sim(place: Place, start_sim: StartSim) -> SimProcess:
    found = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=150, jitter_ms=50)))
    place.write_keys(found, KEYS)
    place.settings["KEYFLEET_LEASE_S"] = "1.5"
    return found


def begin(place: Place, sim: SimProcess, *, ordered: bool) -> Command:
    program = start_job_program(place, PROGRAM.replace("ORDERED", str(ordered)))
    wait_until(lambda: sim.stats()["requests"] > 100, "a part of it was sent")
    return program


def assert_each_row_once(program: Command, sim: SimProcess, *, repeats: int) -> list[int]:
    assert program.wait(90) == 0, program.stderr
    indices: list[int] = json.loads(wait_until_printed(program, "indices"))
    assert Counter(indices) == Counter(range(ROWS))
    stats = sim.stats()
    assert repeats_in(stats) <= repeats
    assert not limits_exceeded(stats)
    return indices


def test_a_server_that_is_killed_in_mid_job_loses_and_doubles_nothing(place: Place, sim: SimProcess) -> None:
    program = begin(place, sim, ordered=True)
    signal_all([place.server_pid()], signal.SIGKILL)
    assert assert_each_row_once(program, sim, repeats=0) == list(range(ROWS))


def test_workers_that_are_killed_in_mid_job_are_replaced_and_only_their_calls_are_made_twice(
    place: Place, sim: SimProcess
) -> None:
    program = begin(place, sim, ordered=False)
    in_flight: int = sim.stats()["in_flight_peak"]
    supervisor = next(pid for pid in children_of(program.pid) if "--all" in command_line(pid))
    workers = children_of(supervisor)
    assert len(workers) == len(KEYS)
    signal_all(workers, signal.SIGKILL)
    assert_each_row_once(program, sim, repeats=in_flight)
