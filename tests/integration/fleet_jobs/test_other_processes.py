"""Jobs that outlive their program, and those that another program looks at."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest

from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support.commands import Command
from support.events import wait_until
from support.files import rows_of
from support.fixtures import StartSim
from support.job_programs import start_job_program, wait_until_printed
from support.ledger_check import limits_exceeded, repeats_in
from support.place import Place, sim_key
from support.server import ServerProcess

KEYS = (sim_key("a", "60/1 second"), sim_key("b", "40/1 second"))
ROWS = 400

BEGIN = f"""
with Fleet() as fleet:
    job = fleet.submit(rows({ROWS}), name="nightly")
    say("id", job.id)
    job.wait()
    say("ended")
"""

GO_ON = """
with Fleet() as fleet:
    job = fleet.job("nightly")
    counts = job.wait()
    say("counts", json.dumps([counts.total, counts.succeeded, counts.failed, counts.is_complete]))
    say("indices", json.dumps(sorted(result.index for result in job)))
"""


@pytest.fixture
def sim(place: Place, start_sim: StartSim) -> SimProcess:
    found = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=100, jitter_ms=50)))
    place.write_keys(found, KEYS)
    place.settings["KEYFLEET_LEASE_S"] = "1.5"
    return found


def results_of(place: Place) -> list[Any]:
    (output,) = (place.state_dir / "jobs").glob("*/results.jsonl")
    return rows_of(output)


def written(place: Place) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (place.state_dir / "jobs").glob("*/results.jsonl"))


def begin_and_break(place: Place, number: signal.Signals) -> Command:
    program = start_job_program(place, BEGIN)
    wait_until(lambda: written(place) > 50, "a part of it is written")
    program.signal(number)
    program.wait()
    return program


def assert_each_row_once(place: Place, go_on: Command) -> None:
    rows = results_of(place)
    assert Counter(row["index"] for row in rows) == Counter(range(ROWS))
    assert all(row["body"]["choices"][0]["message"]["content"] == f"row {row['index']:06d}" for row in rows)
    assert json.loads(wait_until_printed(go_on, "indices")) == list(range(ROWS))


def test_a_job_whose_program_was_killed_is_finished_by_another_and_nothing_is_paid_twice(
    place: Place, sim: SimProcess
) -> None:
    begin_and_break(place, signal.SIGKILL)
    go_on = start_job_program(place, GO_ON)
    assert go_on.wait() == 0, go_on.stderr
    assert_each_row_once(place, go_on)
    total, succeeded, failed, is_complete = json.loads(wait_until_printed(go_on, "counts"))
    assert (total, succeeded, failed, is_complete) == (ROWS, ROWS, 0, True)
    stats = sim.stats()
    assert repeats_in(stats) == 0  # its workers have finished their calls
    assert not limits_exceeded(stats)


def test_everything_is_killed_at_once_and_only_calls_in_flight_are_made_twice(place: Place, sim: SimProcess) -> None:
    start_job_program(place, BEGIN)
    wait_until(lambda: written(place) > 50, "a part of it is written")
    in_flight: int = sim.stats()["in_flight"]
    place.kill_all()
    go_on = start_job_program(place, GO_ON)
    assert go_on.wait() == 0, go_on.stderr
    assert_each_row_once(place, go_on)
    assert repeats_in(sim.stats()) <= in_flight + 20  # those that were answered between the look and the kill


def test_a_fleet_that_is_closed_ends_its_jobs_in_order_and_says_how_to_go_on(place: Place, sim: SimProcess) -> None:
    program = start_job_program(
        place,
        f"""
go_on = threading.Event()
def endless():
    yield from rows({ROWS})
    go_on.wait()

with Fleet() as fleet:
    job = fleet.submit(endless(), name="nightly")
    results = iter(job)
    for _ in range(60):
        next(results)
try:
    job.wait()
except FleetClosed as error:
    say("told", error)
say("counts", job.counts.finished)
""",
    )
    assert program.wait() == 0, program.stderr
    assert "the fleet was closed before job" in wait_until_printed(program, "told")
    finished = int(wait_until_printed(program, "counts"))
    assert 60 <= finished < ROWS
    assert program.said("not all of its iterable was read")
    assert sim.stats()["answered_bodies"] == finished
    go_on = start_job_program(place, GO_ON)
    assert go_on.wait() == 0, go_on.stderr
    assert_each_row_once(place, go_on)
    assert go_on.said("its program ended before its iterable was read to the end")
    assert json.loads(wait_until_printed(go_on, "counts"))[3] is False
    assert sim.stats()["answered_bodies"] == ROWS


def test_a_program_that_ends_without_closing_its_fleet_leaves_a_job_that_can_be_gone_on_with(
    place: Place, sim: SimProcess
) -> None:
    code = f"job = Fleet().submit(rows({ROWS}), name='nightly')\nresults = iter(job)\n"
    program = start_job_program(place, code + "for _ in range(30):\n    next(results)\n")
    assert program.wait() == 0, program.stderr
    assert program.said("was not done when the fleet was closed")
    assert "Traceback" not in program.stderr
    place.wait_until_empty()
    go_on = start_job_program(place, GO_ON)
    assert go_on.wait() == 0, go_on.stderr
    assert_each_row_once(place, go_on)
    assert sim.stats()["answered_bodies"] == ROWS
    assert repeats_in(sim.stats()) == 0


def test_a_second_interrupt_waits_for_no_call_in_flight(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=60_000)))
    place.write_keys(sim, KEYS)
    program = start_job_program(
        place,
        """
from keyfleet.fleet_jobs.runner import JobRunner
really_interrupt = JobRunner.interrupt
def interrupt(runner, **how):
    really_interrupt(runner, **how)
    say("told", how)
JobRunner.interrupt = interrupt
with Fleet() as fleet:
    fleet.submit(rows(5), name="nightly").wait()
""",
    )
    wait_until(lambda: sim.stats()["in_flight"] == 5, "its calls are in flight")
    program.signal(signal.SIGINT)
    wait_until_printed(program, "told {}")
    program.signal(signal.SIGINT)
    wait_until_printed(program, "told {'at_once': True}")
    assert program.wait(30) != 0
    assert program.said("was not done when the fleet was closed")


def test_another_program_follows_a_job_that_is_running_and_cancels_it(
    place: Place, broker: ServerProcess, sim: SimProcess
) -> None:
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    place.start("worker", "--all", stdin=None, before=())
    code = "with Fleet() as fleet:\n    job = fleet.submit(rows(3000), name='nightly')\n"
    code += "    counts = job.wait()\n    say('counts', counts.finished, counts.cancelled)\n"
    program = start_job_program(place, code)
    wait_until(lambda: written(place) > 20, "a part of it is written")
    other = start_job_program(
        place,
        """
with Fleet() as fleet:
    job = fleet.job("nightly")
    results = iter(job)
    for _ in range(30):
        next(results)
    job.cancel()
    job.wait()
    say("rest", sum(1 for _ in results), job.counts.cancelled, job.is_done)
""",
    )
    assert other.wait() == 0, other.stderr
    assert program.wait() == 0, program.stderr
    finished, cancelled = (int(number) for number in wait_until_printed(program, "counts").split())
    rest, seen_cancelled, is_done = wait_until_printed(other, "rest").split()
    assert (int(rest) + 30, int(seen_cancelled), is_done) == (finished, cancelled, "True")
    assert 0 < cancelled < finished
    assert sim.stats()["answered_bodies"] == finished - cancelled
    assert {row["errors"][-1]["code"] for row in results_of(place) if not row["ok"]} == {"job_cancelled"}
    assert "cancelled" in place.run("jobs").stdout
