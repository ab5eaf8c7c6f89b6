"""Everything stopped for longer than a lease, as on a laptop that slept, and woken again."""

from __future__ import annotations

import signal
import threading
from collections import Counter

from keyfleet.sim import SimConfig, SimLatency
from support import Place, bare_line, lines_answered, signal_all, sim_key, wait_until, write_lines, written_lines
from support.fixtures import StartSim

LINES = 200
LEASE_S = 2
ASLEEP_S = 3.5
KEYS = (sim_key("a", "50/1 second"), sim_key("b", "30/1 second"))


def test_a_fleet_that_slept_goes_on_and_sends_nothing_twice(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=100, jitter_ms=50)))
    place.settings["KEYFLEET_LEASE_S"] = str(LEASE_S)
    place.write_keys(sim, KEYS)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    output = place.directory / "in_results.jsonl"
    command = place.start("run", "in.jsonl")
    wait_until(lambda: written_lines(output) >= LINES // 4, "a quarter of the job is written")
    asleep = place.pids()
    signal_all(asleep, signal.SIGSTOP)
    threading.Event().wait(ASLEEP_S)  # time itself is what is tested here
    signal_all(asleep, signal.SIGCONT)
    assert command.wait() == 0, command.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert (stats["sent_after_success"], stats["concurrent_duplicates"]) == (0, 0)
