"""A worker on a host of its own, whose cable is pulled for longer than its leases."""

from __future__ import annotations

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.forwarder import Forwarder
from support.ledger_check import repeats_in
from support.other_host import OtherHost, why_no_other_host

LINES = 120
AT_ONCE = 15
KEYS = (sim_key("far", f"{AT_ONCE}/1 second"), sim_key("near", f"{AT_ONCE}/1 second"))


def test_a_host_that_was_unplugged_is_replaced_meanwhile_and_goes_on_afterwards(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    if reason := why_no_other_host():
        pytest.skip(reason)
    far, near = KEYS
    case = FleetCase.begin(place, broker, start_sim, SimConfig(keys=KEYS, latency=SimLatency(latency_ms=500)), LINES)
    with (
        OtherHost() as host,
        Forwarder(case.broker.socket_path, at=(host.address, 0)) as to_broker,
        Forwarder(case.sim_address, at=(host.address, 0)) as to_provider,
    ):
        keys = place.write_keys(case.sim, KEYS, "keys-of-far.yaml", base_url=f"{to_provider.base_url}/v1")
        arguments = ("worker", "--key", far.name, "--keys", str(keys), "--broker", to_broker.url)
        worker = host.start(place, *arguments)
        case.start_worker(near)
        case.wait_for_workers(len(KEYS))
        command = case.start_run("--max-attempts", "1")
        wait_until(lambda: case.calls("far") == AT_ONCE, "the far host's limit is met: no call is on the cable")
        host.unplug()
        assert case.calls("far", "in_flight") == AT_ONCE, "the answers were on the cable before"
        wait_until(lambda: repeats_in(case.sim.stats()) == AT_ONCE, "the near host makes the far one's calls anew")
        assert (case.calls("far"), worker.code) == (AT_ONCE, None)
        host.plug_in()
        wait_until(lambda: case.calls("far") > AT_ONCE, "the far host goes on")
        case.assert_ends(command, repeats=AT_ONCE)
        assert worker.code is None
