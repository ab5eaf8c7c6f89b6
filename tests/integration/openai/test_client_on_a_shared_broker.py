"""The official client on a broker whose workers are others' business."""

from __future__ import annotations

from collections import Counter

import openai as official
import pytest

from keyfleet.openai import OpenAI
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import MODEL, MakeFleet, SharedFleet
from support.place import Place, sim_key
from support.server import ServerProcess


@pytest.fixture
def shared(place: Place, broker: ServerProcess, start_sim: StartSim) -> SharedFleet:
    place.settings["KEYFLEET_NO_KEY_GRACE"] = "1s"
    shared = SharedFleet(place, broker, start_sim, (sim_key("one"), sim_key("two")))
    place.write_keys(shared.sim, shared.keys, models={MODEL: {"rpm": 10_000}, "text-*": {"rpm": 10_000}})
    shared.start_workers()
    return shared


def test_lists_go_to_all_keys_and_an_unknown_model_is_not_found_after_a_grace(
    shared: SharedFleet, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(shared.broker.url)
    client = OpenAI(fleet=fleet)
    assert client.completions.create(model=MODEL, prompt="hello").choices[0].text == "hello"
    client.embeddings.create(model="text-a", input="hello")
    wait_until(lambda: fleet.lanes("text-a") == 2, "both keys are known to serve the model")
    texts = [f"text {number}" for number in range(9)]
    before = shared.calls()
    found = client.embeddings.create(model="text-a", input=texts)
    assert [one.index for one in found.data] == list(range(9))
    assert shared.calls() == before + 2
    with pytest.raises(official.NotFoundError, match=f"served are {MODEL}, text-") as none:
        client.completions.create(model="nobodys", prompt="hello")
    assert none.value.code == "model_not_found"


def test_time_spent_waiting_counts_and_what_was_not_sent_is_not_paid_for(
    shared: SharedFleet, make_fleet: MakeFleet
) -> None:
    client = OpenAI(fleet=make_fleet(shared.broker.url), max_retries=3)
    shared.set_keys("disable")
    with pytest.raises(official.APITimeoutError, match="could not be started before its time was over"):
        client.completions.create(model=MODEL, prompt=["late 1", "late 2"], timeout=1)
    shared.set_keys("enable")
    texts = [client.completions.create(model=MODEL, prompt=f"in time {n}").choices[0].text for n in range(3)]
    assert Counter(texts) == Counter(f"in time {n}" for n in range(3))
    assert shared.calls() == 3
