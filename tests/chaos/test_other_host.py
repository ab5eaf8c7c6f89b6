"""A worker on a host of its own, whose cable is pulled for longer than its leases."""

from __future__ import annotations

import threading

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import LEASE_S, FleetCase
from support.forwarder import Forwarder
from support.other_host import OtherHost, why_no_other_host

LINES = 110
KEYS = (sim_key("far", "15/1 second"), sim_key("near", "15/1 second"))


def test_a_host_that_was_unplugged_is_replaced_meanwhile_and_goes_on_afterwards(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    if reason := why_no_other_host():
        pytest.skip(reason)
    far, near = KEYS
    case = FleetCase.begin(place, broker, start_sim, SimConfig(keys=KEYS, latency=SimLatency(latency_ms=150)), LINES)
    with (
        OtherHost() as host,
        Forwarder(case.broker.socket_path, at=(host.address, 0)) as to_broker,
        Forwarder(case.sim_address, at=(host.address, 0)) as to_provider,
    ):
        keys = place.write_keys(case.sim, KEYS, "keys-of-far.yaml", base_url=f"{to_provider.base_url}/v1")
        arguments = ("worker", "--key", far.name, "--keys", str(keys), "--broker", to_broker.url)
        worker = host.start(place, *arguments)
        case.start_worker(near)
        command = case.start_run("--max-attempts", "1")
        wait_until(lambda: calls_of(case, "far") >= 20, "the far host has made calls")
        in_flight = case.sim.stats()["keys"]["far"]["in_flight_peak"]
        host.unplug()
        wait_until(lambda: not case.sim.stats()["keys"]["far"]["in_flight"], "what was sent is answered")
        before = calls_of(case, "far")
        written = case.written
        threading.Event().wait(2 * LEASE_S)  # time itself is what is tested here
        assert calls_of(case, "far") == before
        assert case.written > written, "nobody went on meanwhile"
        host.plug_in()
        wait_until(lambda: calls_of(case, "far") > before, "the far host goes on")
        # What was on the cable when it was pulled arrives when it is plugged in: in a later window than its own.
        stats = case.assert_ends(command, repeats=in_flight, refusals=in_flight)
        assert stats["keys"]["near"]["over_limit"] == 0
        assert worker.code is None


def calls_of(case: FleetCase, name: str) -> int:
    found: int = case.sim.stats()["keys"].get(name, {}).get("requests", 0)
    return found
