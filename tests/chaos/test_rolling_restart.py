"""Every worker stopped and replaced, one after another, while the job goes on."""

from __future__ import annotations

import signal

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase

LINES = 320
KEYS = (sim_key("a", "20/1 second"), sim_key("b", "20/1 second"), sim_key("c", "20/1 second"))
CALL_MS = 300


def test_a_rolling_restart_under_load_sends_nothing_twice(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=CALL_MS))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)
    old = {key.name: case.start_worker(key) for key in KEYS}
    command = case.start_run()
    wait_until(lambda: case.written >= 30, "the job is under way")
    for key in KEYS:
        case.start_worker(key)
        old[key.name].signal(signal.SIGTERM)
        assert old[key.name].wait(10) == 0, old[key.name].stderr
        calls = case.sim.stats()["keys"][key.name]["requests"]
        wait_until(
            lambda calls=calls, name=key.name: case.sim.stats()["keys"][name]["requests"] > calls,  # type: ignore[misc] # bound now
            f"the new worker of {key.name} makes calls",
        )
    assert case.written < LINES, "the job was over before"
    stats = case.assert_ends(command)
    assert (stats["requests"], stats["by_status"]) == (LINES, {"200": LINES})
