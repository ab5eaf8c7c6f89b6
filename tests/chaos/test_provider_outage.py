"""A provider that is down for all keys for a minute, which is longer than attempts last; all times are scaled."""

from __future__ import annotations

import threading

from keyfleet.sim import SimConfig, SimLatency
from keyfleet_workers.dispatch.trouble import FAILURES_IN_A_ROW, FIRST_PAUSE_MS
from keyfleet_workers.retry_policy import BASE_DELAY_MS, MAX_DELAY_MS
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.other_python import with_constants

LINES = 200
KEYS = (sim_key("a", "200/1 second"), sim_key("b", "200/1 second"))
SCALE = 15
OUTAGE_S = 60 / SCALE

HURRIED = {
    "keyfleet_workers.retry_policy.BASE_DELAY_MS": BASE_DELAY_MS // SCALE,
    "keyfleet_workers.retry_policy.MAX_DELAY_MS": MAX_DELAY_MS // SCALE,
    "keyfleet_workers.dispatch.trouble.FIRST_PAUSE_MS": FIRST_PAUSE_MS // SCALE,
    "keyfleet_workers.dispatch.trouble.LONGEST_PAUSE_MS": 500,
}
"""Five attempts are over after 0.5 to 1 s of these, as they are after 7.5 to 15 s in the world (ms).

The longest pause is shorter than its scale has it, so that the end of the job comes soon after that of the outage."""


def test_an_outage_of_a_minute_burns_nobodys_attempts(place: Place, start_sim: StartSim, broker: ServerProcess) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=200))
    case = FleetCase.begin(place, broker, start_sim, config, LINES, concurrency=10)
    hurried = with_constants(place.directory / "hurried", HURRIED)
    for key in KEYS:
        case.start_worker(key, **hurried)
    command = case.start_run("--max-attempts", "5")
    wait_until(lambda: case.written >= LINES // 4, "a quarter of the job is written")
    case.sim.set_behaviour("*", "outage")
    threading.Event().wait(OUTAGE_S)  # time itself is what is tested here
    during = case.sim.stats()
    assert during["by_status"]["200"] < LINES - 10, "the job was over before"
    assert all(key["by_status"]["503"] >= FAILURES_IN_A_ROW for key in during["keys"].values()), "a key never met it"
    assert during["by_status"]["503"] < LINES // 2, "calls went on as if nothing had happened"
    case.sim.set_behaviour("*", "ok")
    stats = case.assert_ends(command)
    assert stats["by_status"]["200"] == LINES
