"""What a Fleet tells of itself, with real servers and workers: its models, its waits, and whether it can work."""

from __future__ import annotations

import asyncio
import threading

import pytest

from keyfleet import FleetClosed
from keyfleet.sim import SimConfig, SimKey
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import CHAT, MODEL, MakeFleet, SharedFleet, chat
from support.place import Place, sim_key
from support.server import ServerProcess


@pytest.fixture
def shared(place: Place, broker: ServerProcess, start_sim: StartSim) -> SharedFleet:
    return SharedFleet(place, broker, start_sim, (sim_key("one", "1/3600 second"),))


def test_models_are_those_of_all_keys_under_the_names_that_callers_use(
    make_fleet: MakeFleet, start_sim: StartSim
) -> None:
    chats = SimKey(name="chats", api_key="sk-of-chats", models={"gpt-4o*": ()})
    sim = start_sim(SimConfig(keys=(chats, sim_key("others"))))
    at = {"base_url": f"{sim.base_url}/v1"}
    limits = {"rpm": 100}
    named = {"mine": {"as": "gpt-3.5-turbo-instruct", **limits}, "text-*": limits, "unlisted": limits}
    keys = [
        {"name": "chats", "api_key": "sk-of-chats", **at},
        {"name": "others", "api_key": "sk-of-others", "models": named, **at},
    ]
    fleet = make_fleet(keys=keys)
    expected = {"gpt-4o", "gpt-4o-mini", "mine", "text-embedding-3-small", "unlisted"}
    wait_until(lambda: {model["id"] for model in fleet.models()} == expected, "both keys have answered")
    models = asyncio.run(fleet.amodels())
    assert [model["id"] for model in models] == sorted(expected)
    assert {model["id"]: model["owned_by"] for model in models if model["id"] in ("mine", "unlisted")} == {
        "mine": "keyfleet-sim",
        "unlisted": "keyfleet",
    }
    assert all(model["object"] == "model" and isinstance(model["created"], int) for model in models)


def test_what_other_hosts_workers_serve_is_told_also_when_their_key_is_refused(
    shared: SharedFleet, make_fleet: MakeFleet
) -> None:
    shared.start_workers()
    fleet = make_fleet(shared.broker.url)
    before = fleet.models()
    assert "gpt-4o" in [model["id"] for model in before]
    shared.sim.set_behaviour("one", "revoked")
    with pytest.raises(Exception, match=r"refused|time was over"):
        fleet.call(CHAT, chat("hello"), timeout_s=5.0)
    wait_until(lambda: "refused by its provider" in fleet.readiness(), "its key is known to be refused")
    assert fleet.models() == before


def test_a_fleet_tells_whether_it_can_work_and_how_long_it_will_wait(
    shared: SharedFleet, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(shared.broker.url)
    assert fleet.readiness() == "the fleet is not open yet"
    fleet.open()
    wait_until(lambda: "no worker is running" in fleet.readiness(), "nobody works")
    shared.start_workers()
    wait_until(lambda: fleet.readiness() == "", "the worker is there")
    fleet.call(CHAT, chat("first"))
    wait_until(lambda: fleet.wait_estimate_s(MODEL) == 0.0, "nothing waits")
    ended: list[Exception] = []

    def call() -> None:
        try:
            fleet.call(CHAT, chat("second"))
        except FleetClosed as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: (fleet.wait_estimate_s(MODEL) or 0.0) > 3000.0, "the limit's wait is known")
    assert "1 requests per 3600 s" in fleet.why_waiting(MODEL)
    fleet.close()
    thread.join()
    assert len(ended) == 1
    assert fleet.readiness() == "the fleet was closed"


def test_a_broker_that_is_gone_makes_a_fleet_unready(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    shared.start_workers()
    fleet = make_fleet(shared.broker.url)
    fleet.open()
    wait_until(lambda: fleet.readiness() == "", "the worker is there")
    shared.broker.kill()
    wait_until(lambda: fleet.readiness() == "the broker doesn't answer", "that is noticed")
