"""A provider that fails in every way it can."""

from __future__ import annotations

from collections import Counter

from keyfleet.sim import SimConfig, SimFaults, SimLatency
from support import Place, bare_line, lines_answered, sim_key, write_lines
from support.fixtures import StartSim

LINES = 2000
KEYS = tuple(sim_key(name) for name in ("a", "b", "c"))
FAULTS = SimFaults(
    error_500=0.02,
    error_503=0.015,
    spurious_429=0.015,
    reset=0.015,
    hang=0.005,
    cut_off=0.015,
    invalid_json=0.015,
    hang_s=30,
    spurious_retry_after_ms=100,
)


def test_every_line_has_one_answer_though_one_call_in_ten_fails(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=KEYS, faults=FAULTS, latency=SimLatency(latency_ms=10), seed=7))
    place.write_keys(sim, KEYS)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    done = place.run("run", "in.jsonl", "--timeout", "5s", "--max-attempts", "8", "--timeout-attempts", "8")
    assert done.code == 0, done.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    stats = sim.stats()
    assert stats["sent_after_success"] == 0
    assert stats["concurrent_duplicates"] <= stats["by_status"]["hang"]  # a call given up may still hang there
    assert {"500", "503", "spurious_429", "reset", "hang", "cut_off", "invalid_json"} <= stats["by_status"].keys()
