"""A shared broker that is killed in mid-job and comes back with its append-only file."""

from __future__ import annotations

from collections import Counter

from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support import Place, ServerProcess, bare_line, lines_answered, sim_key, wait_until, write_lines, written_lines
from support.fixtures import StartSim

LINES = 240
KEYS = (sim_key("a", "50/1 second"), sim_key("b", "30/1 second"))


def begin(place: Place, start_sim: StartSim) -> SimProcess:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=100, jitter_ms=50)))
    place.settings["KEYFLEET_LEASE_S"] = "2"
    place.write_keys(sim, KEYS)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    return sim


def assert_clean(sim: SimProcess) -> None:
    stats = sim.stats()
    assert (stats["sent_after_success"], stats["concurrent_duplicates"], stats["over_limit"]) == (0, 0, 0)


def test_a_job_survives_a_broker_that_is_killed_and_started_again(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = begin(place, start_sim)
    output = place.directory / "in_results.jsonl"
    command = place.start("run", "in.jsonl", "--broker", broker.url, "--workers")
    wait_until(lambda: written_lines(output) >= LINES // 4, "a quarter of the job is written")
    broker.kill()
    broker.start()
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    assert_clean(sim)


def test_workers_that_run_by_themselves_survive_it_too(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = begin(place, start_sim)
    output = place.directory / "in_results.jsonl"
    workers = [place.start("worker", "--key", key.name, "--broker", broker.url) for key in KEYS]
    command = place.start("run", "in.jsonl", "--broker", broker.url, "--no-workers")
    wait_until(lambda: written_lines(output) >= LINES // 4, "a quarter of the job is written")
    broker.kill()
    broker.start()
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    assert_clean(sim)
    assert [worker.code for worker in workers] == [None, None]
