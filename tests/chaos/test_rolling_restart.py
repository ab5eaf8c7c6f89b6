"""Every worker stopped, one after another, while the job goes on and others take their places."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import replace

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.forwarder import Forwarder

LINES = 300
KEYS = tuple(replace(sim_key(name, "30/1 second"), group=name) for name in ("a", "b"))
"""Each has a group, whose quota is the same by whichever way a worker reaches the provider."""

CALL_MS = 500


def test_a_rolling_restart_under_load_sends_nothing_twice(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=CALL_MS))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)
    with ExitStack() as stack:
        ways = {key.name: stack.enter_context(Forwarder(case.sim_address)) for key in KEYS}
        old = {key.name: case.start_worker(key, base_url=ways[key.name].base_url) for key in KEYS}
        new = [case.start_worker(key) for key in KEYS]
        case.wait_for_workers(2 * len(KEYS))
        command = case.start_run()
        for key in KEYS:
            wait_until(ways[key.name].passages, f"the old worker of {key.name} makes calls")
            wait_until(lambda name=key.name: case.calls(name, "in_flight"), f"calls of {key.name} are under way")  # type: ignore[misc] # bound now
            old[key.name].signal(signal.SIGTERM)
            assert old[key.name].wait(10) == 0, old[key.name].stderr
            assert not ways[key.name].passages()
        assert case.written < LINES, "the job was over before"
        stats = case.assert_ends(command)
    assert (stats["requests"], stats["by_status"]) == (LINES, {"200": LINES})
    assert [worker.code for worker in new] == [None] * len(KEYS)
