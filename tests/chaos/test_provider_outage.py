"""A provider that is down for all keys for longer than attempts last; times are a tenth of the world's, or less."""

from __future__ import annotations

import threading

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.other_python import with_constants

LINES = 140
KEYS = (sim_key("a", "20/1 second"), sim_key("b", "20/1 second"))
OUTAGE_S = 5.0

TENTHS = {
    "keyfleet_workers.retry_policy.BASE_DELAY_MS": 100,
    "keyfleet_workers.retry_policy.MAX_DELAY_MS": 6_000,
    "keyfleet_workers.dispatch.trouble.FIRST_PAUSE_MS": 100,
    "keyfleet_workers.dispatch.trouble.LONGEST_PAUSE_MS": 500,
}
"""Five attempts are over after 0.75 to 1.5 s of these, as they are after 7.5 to 15 s in the world (ms).

The longest pause is shorter than a tenth, so that the end of the job comes soon after that of the outage."""


def test_an_outage_of_a_minute_burns_nobodys_attempts(place: Place, start_sim: StartSim, broker: ServerProcess) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=50))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)
    hurried = with_constants(place.directory / "hurried", TENTHS)
    for key in KEYS:
        case.start_worker(key, **hurried)
    command = case.start_run("--max-attempts", "5")
    wait_until(lambda: case.written >= LINES // 4, "a quarter of the job is written")
    case.sim.set_behaviour("*", "outage")
    threading.Event().wait(OUTAGE_S)  # time itself is what is tested here
    failed = case.sim.stats()["by_status"]["503"]
    assert failed < LINES // 2, "calls went on as if nothing had happened"
    case.sim.set_behaviour("*", "ok")
    stats = case.assert_ends(command)
    assert stats["by_status"]["200"] >= LINES
