"""Two runs of one user at the same time."""

from __future__ import annotations

from collections import Counter

from keyfleet.sim import SimConfig, SimLatency
from support import Place, bare_line, lines_answered, sim_key, write_lines
from support.fixtures import StartSim

LINES = 60
LIMIT = "40/2 second"


def test_one_secret_under_two_names_is_one_quota(place: Place, start_sim: StartSim) -> None:
    shared = sim_key("shared", LIMIT)
    sim = start_sim(SimConfig(keys=(shared,), latency=SimLatency(latency_ms=20)))
    runs = []
    for name, first in (("one", 0), ("two", LINES)):
        named = sim_key(name, LIMIT, secret=shared.api_key)
        place.write_keys(sim, (named,), f"{name}.yaml")
        write_lines(place.directory / f"{name}.jsonl", [bare_line(n) for n in range(first + 1, first + LINES + 1)])
        runs.append(place.start("run", f"{name}.jsonl", "--keys", f"{name}.yaml"))
    assert [run.wait() for run in runs] == [0, 0], [run.stderr for run in runs]
    assert sim.stats()["over_limit"] == 0
    found = sum((lines_answered(place.directory / f"{name}_results.jsonl") for name in ("one", "two")), Counter())
    assert found == Counter(range(1, 2 * LINES + 1))
    place.wait_until_empty()


def test_two_runs_never_use_each_others_keys(place: Place, start_sim: StartSim) -> None:
    keys = {name: sim_key(name) for name in ("one", "two")}
    sim = start_sim(SimConfig(keys=tuple(keys.values()), latency=SimLatency(latency_ms=50)))
    runs = []
    for name, key in keys.items():
        place.write_keys(sim, (key,), f"{name}.yaml")
        lines = LINES if name == "one" else 2 * LINES
        write_lines(place.directory / f"{name}.jsonl", [bare_line(n) for n in range(1, lines + 1)])
        runs.append(place.start("run", f"{name}.jsonl", "--keys", f"{name}.yaml"))
    assert [run.wait() for run in runs] == [0, 0], [run.stderr for run in runs]
    seen = sim.stats()["keys"]
    assert (seen["one"]["requests"], seen["two"]["requests"]) == (LINES, 2 * LINES)
