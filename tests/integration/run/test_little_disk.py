"""A disk with little room left: feeding pauses and says so, and goes on by itself once there is room."""

from __future__ import annotations

import os
import shutil
from collections import Counter

from keyfleet.sim import SimConfig
from support import Place, bare_line, lines_answered, sim_key, write_lines
from support.fixtures import StartSim

KEY = sim_key("a")
LINES = 20
IN_THE_WAY_BYTES = 200_000_000


def test_feeding_pauses_while_the_disk_has_too_little_room(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=(KEY,)))
    place.write_keys(sim, (KEY,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    in_the_way = place.directory / "in_the_way"
    with in_the_way.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, IN_THE_WAY_BYTES)
    floor_bytes = shutil.disk_usage(place.directory).free + IN_THE_WAY_BYTES // 2
    run = place.start("run", "in.jsonl", KEYFLEET_MIN_FREE_DISK=str(floor_bytes))
    run.wait_until_said("(KEYFLEET_MIN_FREE_DISK)")
    assert sim.stats()["by_status"] == {}
    in_the_way.unlink()
    assert run.wait() == 0, run.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
