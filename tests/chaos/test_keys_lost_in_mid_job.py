"""Keys that are revoked or run dry while a job uses them, and are given back."""

from __future__ import annotations

from keyfleet.sim import SimConfig, SimKey, SimLatency, parse_limits
from support import Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim
from support.fleet_case import FleetCase
from support.other_python import with_constants

PROBED_OFTEN = {"keyfleet_workers.key_watch.PROBE_LONGEST_S": 0.5}
KEYS = tuple(sim_key(name, "15/1 second") for name in ("revoked", "emptied", "c", "d"))
LINES = 240
MOST_AT_ONCE = 15
"""Calls of one key that may be under way when it is refused: its limit."""

SHARED = parse_limits(requests=["20/1 second"])
ORGANISATION = tuple(
    SimKey(name=name, api_key=f"sk-of-{name}", limits=SHARED, group="org") for name in ("first", "second", "third")
)
ALONE = sim_key("alone", "20/1 second")


def answered(case: FleetCase, name: str) -> int:
    """Calls of a key that succeeded."""
    counts = case.sim.stats()["keys"].get(name)
    return int(counts["by_status"].get("200", 0)) if counts else 0


def test_the_other_keys_go_on_and_no_attempt_is_spent_and_keys_that_are_given_back_work_again(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    config = SimConfig(keys=KEYS, latency=SimLatency(latency_ms=50))
    case = FleetCase.begin(place, broker, start_sim, config, LINES)
    probing = with_constants(place.directory / "probing", PROBED_OFTEN)
    for key in KEYS:
        case.start_worker(key, **probing)
    command = case.start_run("--max-attempts", "1")
    wait_until(lambda: min(answered(case, key.name) for key in KEYS) > 0, "all keys are used")
    case.sim.set_behaviour("revoked", "revoked")
    case.sim.set_behaviour("emptied", "out_of_credit")
    wait_until(lambda: {"401", "429"} <= case.sim.stats()["by_status"].keys(), "both were refused")
    before = case.written
    wait_until(lambda: case.written >= before + 60, "the other keys go on")
    lost = {name: answered(case, name) for name in ("revoked", "emptied")}
    for name in lost:
        case.sim.set_behaviour(name, "ok")
    for name, count in lost.items():
        wait_until(lambda name=name, count=count: answered(case, name) >= count + 5, f"{name} works again")  # type: ignore[misc] # bound now
    stats = case.assert_ends(command)
    assert stats["by_status"]["401"] <= MOST_AT_ONCE
    assert stats["by_status"]["429"] <= MOST_AT_ONCE + 10  # asking whether there is credit again is a call, too


def test_an_account_that_is_out_of_credit_is_met_once_for_all_keys_of_its_group(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    config = SimConfig(keys=(*ORGANISATION, ALONE), latency=SimLatency(latency_ms=50))
    case = FleetCase.begin(place, broker, start_sim, config, 60)
    probing = with_constants(place.directory / "probing", {"keyfleet_workers.key_watch.PROBE_LONGEST_S": 600.0})
    for key in ORGANISATION:
        case.sim.set_behaviour(key.name, "out_of_credit")
    first, *others = ORGANISATION
    case.start_worker(first, **probing)
    command = case.start_run("--max-attempts", "1")
    wait_until(lambda: case.calls(first.name) > 0 and not case.in_flight, "the account's end was met")
    for key in others:
        case.start_worker(key, **probing)
    case.start_worker(ALONE, **probing)
    stats = case.assert_ends(command)
    assert stats["keys"]["alone"]["by_status"] == {"200": 60}
    assert case.calls(first.name) <= 20 + 1, "the first key went on asking"
    for key in others:
        assert case.calls(key.name) <= 1, f"{key.name} asked for more than whether there is credit again"
