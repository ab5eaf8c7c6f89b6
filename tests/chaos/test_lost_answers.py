"""Links to the broker that are cut just when it has done what it was asked, and a broker that is wiped."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing

from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support import (
    LossyLink,
    Place,
    ServerProcess,
    bare_line,
    lines_answered,
    sim_key,
    wait_until,
    write_lines,
    written_lines,
)
from support.fixtures import StartSim

LINES = 400
KEYS = (sim_key("a"), sim_key("b"))


def begin(place: Place, start_sim: StartSim) -> SimProcess:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=10)))
    place.settings["KEYFLEET_LEASE_S"] = "3"
    place.write_keys(sim, KEYS)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    return sim


def assert_each_line_once(place: Place, sim: SimProcess) -> None:
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert (stats["sent_after_success"], stats["concurrent_duplicates"]) == (0, 0)


def test_requests_whose_acceptance_was_not_answered_are_sent_once(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = begin(place, start_sim)
    chance = random.Random(2)

    def loses(data: bytes) -> bool:
        return b"/v1/chat/completions" in data and chance.random() < 0.5

    with closing(LossyLink(place.directory / "l.sock", broker.socket_path, loses)) as link, broker.client() as client:
        for key in KEYS:
            place.start("worker", "--key", key.name, "--broker", broker.url)
        wait_until(lambda: len(read_fleet_status(client, "main").workers) == len(KEYS), "the workers are there")
        done = place.run("run", "in.jsonl", "--broker", link.url, "--no-workers")
        assert done.code == 0, done.stderr
        assert link.losses
    assert_each_line_once(place, sim)


def test_workers_whose_links_are_cut_again_and_again_end_the_job(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = begin(place, start_sim)
    chance = random.Random(3)
    with closing(
        LossyLink(place.directory / "l.sock", broker.socket_path, lambda data: chance.random() < 0.02)
    ) as link:
        for key in KEYS:
            place.start("worker", "--key", key.name, "--broker", link.url)
        done = place.run("run", "in.jsonl", "--broker", broker.url, "--no-workers")
        assert done.code == 0, done.stderr
        assert link.losses
    assert_each_line_once(place, sim)


def test_a_job_whose_broker_was_wiped_ends_complete_and_names_every_request(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    keys = (sim_key("a", "60/1 second"), sim_key("b", "40/1 second"))
    sim = start_sim(SimConfig(keys=keys, latency=SimLatency(latency_ms=50)))
    place.write_keys(sim, keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    command = place.start("run", "in.jsonl", "--broker", broker.url, "--workers")
    output = place.directory / "in_results.jsonl"
    wait_until(lambda: written_lines(output) >= LINES // 4, "a quarter of the job is written")
    in_flight = sim.stats()["in_flight_peak"]
    with broker.client() as client:
        client.flushall()
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert stats["sent_after_success"] <= in_flight  # what was under way has no place in a broker that lost all
    assert stats["over_limit"] == 0
