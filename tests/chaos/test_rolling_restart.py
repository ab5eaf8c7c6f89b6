"""Every worker stopped, one after another, while the job goes on and others take their places."""

from __future__ import annotations

import signal

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase

LINES = 300
KEYS = (sim_key("a", "20/1 second"), sim_key("b", "20/1 second"), sim_key("c", "20/1 second"))
CALL_MS = 300


def test_a_rolling_restart_under_load_sends_nothing_twice(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=CALL_MS))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)
    old = {key.name: case.start_worker(key) for key in KEYS}
    case.wait_for_workers(len(KEYS))
    command = case.start_run()
    new = [case.start_worker(key) for key in KEYS]
    case.wait_for_workers(2 * len(KEYS))
    for key in KEYS:
        wait_until(lambda name=key.name: case.calls(name, "in_flight"), f"calls of {key.name} are under way")  # type: ignore[misc] # bound now
        old[key.name].signal(signal.SIGTERM)
        assert old[key.name].wait(10) == 0, old[key.name].stderr
        before = case.calls(key.name)
        wait_until(lambda name=key.name, before=before: case.calls(name) > before, f"{key.name} goes on")  # type: ignore[misc] # bound now
    assert case.written < LINES, "the job was over before"
    stats = case.assert_ends(command)
    assert (stats["requests"], stats["by_status"]) == (LINES, {"200": LINES})
    assert [worker.code for worker in new] == [None] * len(KEYS)
