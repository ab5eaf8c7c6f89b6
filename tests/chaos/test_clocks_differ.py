"""Hosts whose clocks differ by minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.other_python import with_clock_off_by
from support.process_trees import kill_tree

LINES = 160
KEY = sim_key("a", "40/1 second")
MINUTE_S = 60.0


def test_workers_whose_clocks_differ_share_limits_leases_and_waits(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    behind = with_clock_off_by(-MINUTE_S, place.directory / "behind")
    ahead = with_clock_off_by(MINUTE_S, place.directory / "ahead")
    assert clock_s(behind) + 1.9 * MINUTE_S < clock_s(ahead)
    config = SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=150))
    fails_once = "[[sim:500x1]]"
    case = FleetCase.begin(
        place, broker, start_sim, config, LINES, text_of=lambda number: fails_once if number % 10 == 0 else ""
    )
    slow = case.start_worker(KEY, **behind)
    case.start_worker(KEY, **ahead)
    began_s = time.monotonic()
    command = case.start_run()
    wait_until(lambda: case.written >= LINES // 4, "a quarter of the job is written")
    in_flight = case.sim.stats()["in_flight_peak"]
    kill_tree(slow.pid)
    stats = case.assert_ends(command, repeats=in_flight)
    assert stats["by_status"]["500"] > LINES // 20
    assert time.monotonic() - began_s < MINUTE_S / 2, "something waited for another host's time"


def test_a_producer_whose_clock_is_ahead_is_served_as_any_other(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    config = SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=20))
    case = FleetCase.begin(place, broker, start_sim, config, LINES // 2)
    place.settings.update(with_clock_off_by(MINUTE_S, place.directory / "ahead"))
    command = case.start_run()
    del place.settings["PYTHONPATH"]
    worker = case.start_worker(KEY)
    assert case.assert_ends(command)["requests"] == LINES // 2
    assert worker.code is None


def clock_s(environment: dict[str, str]) -> float:
    """What time it is for such a process."""
    script = (
        "import time, datetime; assert abs(datetime.datetime.now().timestamp() - time.time()) < 1; print(time.time())"
    )
    shown = subprocess.check_output([sys.executable, "-c", script], env={**os.environ, **environment})
    return float(shown)
