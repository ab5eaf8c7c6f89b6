"""A fast and a slow key share a queue: neither is waited for where the other could go on."""

from __future__ import annotations

from collections import Counter

from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, bare_line, lines_answered, sim_key, wait_until, write_lines
from support.fixtures import StartSim

FAST, SLOW = sim_key("fast", "100/2 second"), sim_key("slow", "6/60 second")
LINES = 300


def test_the_last_line_is_not_kept_waiting_by_the_slow_key(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(FAST, SLOW), latency=SimLatency(latency_ms=50)))
    place.write_keys(sim, (FAST, SLOW))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    for key in (FAST, SLOW):
        place.start("worker", "--key", key.name, "--broker", broker.url)
    with broker.client() as client:
        wait_until(lambda: len(read_fleet_status(client, "main").workers) == 2, "both workers are there")
        done = place.run("run", "in.jsonl", "--broker", broker.url, "--no-workers", "--give-up-after", "20s")
        assert done.code == 0, done.stderr
        assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
        seen = sim.stats()["keys"]
        # The slow key's limit holds it for a minute after its first six; whoever waited for it would have given up.
        assert seen["slow"]["requests"] == 6
        assert sim.stats()["over_limit"] == 0
        workers = read_fleet_status(client, "main").workers
        handed_back = sum(worker.totals.get("handed_back", 0) for worker in workers)
        assert handed_back < 0.05 * LINES
