"""A worker that is told to stop while calls are under way."""

from __future__ import annotations

import signal
from collections import Counter

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, bare_line, lines_answered, sim_key, wait_until, write_lines
from support.fixtures import StartSim

LINES = 60
KEY = sim_key("a", "30/1 second")


def test_a_worker_that_is_stopped_delivers_every_answer_that_was_paid_for(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=1500)))
    place.settings["KEYFLEET_LEASE_S"] = "3"
    place.write_keys(sim, (KEY,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    worker = place.start("worker", "--key", KEY.name, "--broker", broker.url)
    command = place.start("run", "in.jsonl", "--broker", broker.url, "--no-workers")
    wait_until(lambda: sim.stats()["in_flight"] >= 20, "calls are under way")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.stderr
    assert sim.stats()["by_status"].keys() == {"200"}
    place.start("worker", "--key", KEY.name, "--broker", broker.url)
    assert command.wait() == 0, command.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert (stats["requests"], stats["sent_after_success"], stats["over_limit"]) == (LINES, 0, 0)
