"""Workers started by hand."""

from __future__ import annotations

import signal
from collections import Counter

from keyfleet.cli.service_exits import BROKER_AWAY_EXIT
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig
from support import (
    Place,
    ServerProcess,
    bare_line,
    lines_answered,
    run_command,
    sim_key,
    start_command,
    wait_until,
    write_lines,
)
from support.fixtures import StartSim

KEYS = (sim_key("a"), sim_key("b"))
LINES = 20
CELERY = ("-m", "celery", "-A", "keyfleet_workers")


def test_one_process_for_each_key_serves_the_fleet_and_ends_when_told(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=KEYS))
    place.write_keys(sim, KEYS)
    workers = place.start("worker", "--all", "--broker", broker.url)
    with broker.client() as client:
        wait_until(
            lambda: {worker.key_name for worker in read_fleet_status(client, "main").workers} == {"a", "b"},
            "both keys have a worker",
        )
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    assert place.run("run", "in.jsonl", "--broker", broker.url).code == 0
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    workers.signal(signal.SIGTERM)
    assert workers.wait() == 0
    place.wait_until_empty()


def test_workers_end_with_a_supervisor_that_was_killed(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.write_keys(start_sim(SimConfig(keys=KEYS)), KEYS)
    workers = place.start("worker", "--all", "--broker", broker.url)
    with broker.client() as client:
        wait_until(lambda: len(read_fleet_status(client, "main").workers) == 2, "both workers are there")
    workers.signal(signal.SIGKILL)
    workers.wait()
    place.wait_until_empty()


def test_a_worker_that_finds_no_broker_says_so_and_ends(place: Place, start_sim: StartSim) -> None:
    place.write_keys(start_sim(SimConfig(keys=KEYS)), KEYS)
    done = place.run("worker", "--broker", "redis://127.0.0.1:9")
    assert done.code == BROKER_AWAY_EXIT
    assert done.said("the broker at redis://127.0.0.1:9 can't be used")


def test_a_worker_without_a_broker_says_what_to_give(place: Place, start_sim: StartSim) -> None:
    place.write_keys(start_sim(SimConfig(keys=KEYS)), KEYS)
    done = place.run("worker", "--key", "a")
    assert done.code == 2
    assert done.said("--broker redis://")


def test_celerys_own_command_works_for_those_who_type_it(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=KEYS))
    place.write_keys(sim, KEYS)
    env = {**place.env, "KEYFLEET_BROKER_URL": broker.url, "KEYFLEET_KEY": "b"}
    worker = start_command(("worker",), cwd=place.directory, env=env, program=CELERY)
    try:
        write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
        assert place.run("run", "in.jsonl", "--broker", broker.url).code == 0
        assert sim.stats()["keys"]["b"]["requests"] == LINES
    finally:
        worker.signal(signal.SIGTERM)
        worker.wait()


def test_celerys_own_command_says_what_to_type_where_it_can_not_tell_the_key(place: Place, start_sim: StartSim) -> None:
    place.write_keys(start_sim(SimConfig(keys=KEYS)), KEYS)
    env = {**place.env, "KEYFLEET_BROKER_URL": "redis://127.0.0.1:9"}
    done = run_command(("worker",), cwd=place.directory, env=env, program=CELERY)
    assert done.code != 0
    assert done.said("keyfleet worker --key a")
