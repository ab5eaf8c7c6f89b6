"""A job whose model no key can serve says which keys there are and why each can't, and goes on when one can."""

from __future__ import annotations

from collections import Counter

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, bare_line, lines_answered, sim_key, write_lines
from support.fixtures import StartSim

LINES = 20
KEYS = (sim_key("first"), sim_key("second"))


def test_keys_that_their_workers_have_left_are_told_and_the_job_goes_on_by_itself(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=20)))
    place.write_keys(sim, KEYS)
    sim.set_behaviour("first", "out_of_credit")
    assert place.run("keys", "disable", "second", "--reason", "holidays", "--broker", broker.url).code == 0
    for _ in KEYS:
        place.start("worker", "--broker", broker.url)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    run = place.start("run", "in.jsonl", "--broker", broker.url, "--no-workers")
    run.wait_until_said("no key can serve")
    run.wait_until_said("first is out of credit")
    run.wait_until_said("second is disabled (holidays)")
    place.run("keys", "enable", "second", "--broker", broker.url)
    assert run.wait() == 0, run.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    assert sim.stats()["keys"]["second"]["requests"] == LINES
