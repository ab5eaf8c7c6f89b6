"""Calls without a byte for longer than the path to the provider keeps idle connections, and idle connections there."""

from __future__ import annotations

import sys

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key
from support.fixtures import StartSim
from support.fleet_case import LEASE_S, FleetCase
from support.forgetful_path import ForgetfulPath
from support.other_python import with_constants

KEEPALIVE = "keyfleet_workers.provider.connections.KEEPALIVE_"
REUSE_WITHIN_S = "keyfleet_workers.provider.connections.REUSE_WITHIN_S"
IDLE_S = 2.0
"""What a path keeps idle connections for; some minutes in the world (s)."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP_INFO is Linux's")


def test_a_call_that_takes_longer_than_its_lease_and_its_path_allow_in_silence_succeeds(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    key = sim_key("a", "100/1 second")
    silence_s = 2.5 * IDLE_S
    assert silence_s > 3 * LEASE_S
    config = SimConfig(keys=(key,), latency=SimLatency(latency_ms=silence_s * 1000))
    case = FleetCase.begin(place, broker, start_sim, config, 24)
    probing = with_constants(place.directory / "probing", {KEEPALIVE + "IDLE_S": 1, KEEPALIVE + "INTERVAL_S": 1})
    with ForgetfulPath(case.sim_address, idle_s=IDLE_S) as path:
        case.start_worker(key, base_url=path.base_url, **probing)
        stats = case.assert_ends(case.start_run("--max-attempts", "1"))
        assert stats["requests"] == case.lines


@pytest.mark.parametrize("silent", [False, True])
def test_connections_that_a_path_has_forgotten_cost_no_attempt(
    place: Place, start_sim: StartSim, broker: ServerProcess, silent: bool
) -> None:
    at_once = 12
    key = sim_key("a", f"{at_once}/{IDLE_S * 1.5:g} second")
    case = FleetCase.begin(place, broker, start_sim, SimConfig(keys=(key,)), 2 * at_once)
    wary = with_constants(place.directory / "wary", {REUSE_WITHIN_S: IDLE_S / 2})
    with ForgetfulPath(case.sim_address, idle_s=IDLE_S, silent=silent) as path:
        case.start_worker(key, base_url=path.base_url, **wary)
        stats = case.assert_ends(case.start_run("--max-attempts", "1", "--timeout", "3s"))
        assert stats["requests"] == case.lines
        assert path.forgotten >= 2, "no connection was idle for long"
