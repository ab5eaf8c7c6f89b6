"""Calls to workers that are others' business, on a broker that many share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from keyfleet import BrokerUnavailable, Fleet, JobCancelled, NoKeyServes
from keyfleet.jobs import cancel_job
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import queue_of
from keyfleet.redis_keys import QueueKeys
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import CHAT, FLEET, MODEL, MakeFleet, SharedFleet, chat
from support.place import Place, sim_key
from support.server import ServerProcess

KEYS = QueueKeys(FLEET, queue_of(MODEL))


@pytest.fixture
def shared(place: Place, broker: ServerProcess, start_sim: StartSim) -> SharedFleet:
    place.settings["KEYFLEET_NO_KEY_GRACE"] = "1s"
    return SharedFleet(place, broker, start_sim, (sim_key("one"),))


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start a call, whose end will be in the list."""
    ends: list[Any] = []

    def run() -> None:
        try:
            ends.append(call())
        except Exception as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends


def wait_until_waiting(fleet: Fleet, count: int) -> None:
    desk = fleet.open().desks.own
    wait_until(lambda: desk.waiting == count, f"{count} calls wait")


def test_calls_are_served_by_the_workers_of_the_broker(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    shared.start_workers()
    with make_fleet(shared.broker.url) as fleet:
        assert fleet.call(CHAT, chat("hello"))["choices"][0]["message"]["content"] == "hello"
        wait_until(lambda: fleet.lanes(MODEL) == 1, "its lane is known")
    with shared.broker.client() as client:
        wait_until(lambda: list(read_records(client, FLEET)) == [], "nothing is left of it")


def test_a_model_that_no_running_workers_key_serves_is_told_after_a_grace(
    shared: SharedFleet, make_fleet: MakeFleet
) -> None:
    shared.place.write_keys(shared.sim, shared.keys, models={"gpt-4o*": {"rpm": 5}, "o3": {"rpm": 5}})
    shared.start_workers()
    fleet = make_fleet(shared.broker.url)
    with pytest.raises(
        NoKeyServes, match="no running worker's key serves the model 'sim-model'; served are gpt-4o"
    ) as no:
        fleet.call(CHAT, chat("hello"))
    assert (no.value.served, no.value.code, no.value.model) == (("gpt-4o*", "o3"), "model_not_served", MODEL)
    assert fleet.call(CHAT, chat("hello", model="o3"))["model"] == "o3"
    assert shared.calls() == 1


def test_without_any_worker_a_call_says_so_after_a_grace(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(shared.broker.url)
    with pytest.raises(NoKeyServes, match="no worker is running; start some with `keyfleet worker --all`"):
        asyncio.run(fleet.acall(CHAT, chat("hello")))
    with shared.broker.client() as client:
        wait_until(lambda: not client.hlen(KEYS.requests), "it was taken back")


def test_a_worker_that_comes_within_the_grace_serves_the_call(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    shared.place.settings["KEYFLEET_NO_KEY_GRACE"] = "60s"
    fleet = make_fleet(shared.broker.url)
    thread, ends = in_thread(lambda: fleet.call(CHAT, chat("hello"))["model"])
    wait_until_waiting(fleet, 1)
    shared.start_workers()
    thread.join()
    assert ends == [MODEL]


def test_where_every_key_is_refused_a_call_says_what_the_providers_say(
    shared: SharedFleet, make_fleet: MakeFleet
) -> None:
    shared.sim.set_behaviour("one", "revoked")
    shared.start_workers()
    fleet = make_fleet(shared.broker.url)
    with pytest.raises(NoKeyServes, match="every key is refused by its provider: one: ") as refused:
        fleet.call(CHAT, chat("hello"))
    assert refused.value.code == "keys_refused"


def test_urgent_calls_overtake_what_waits_in_bulk(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    shared.start_workers(KEYFLEET_CONCURRENCY="1")
    shared.set_keys("disable")
    fleet = make_fleet(shared.broker.url)
    bulk = [in_thread(lambda: fleet.call(CHAT, chat("bulk"), priority="bulk")) for _ in range(20)]
    wait_until_waiting(fleet, 20)
    urgent = in_thread(lambda: fleet.call(CHAT, chat("urgent", max_tokens=900)))
    shared.wait_until_ready(urgent=1, bulk=20)
    shared.set_keys("enable")
    for thread, ends in (urgent, *bulk):
        thread.join()
        assert isinstance(ends[0], dict), ends
    tokens = shared.tokens_in_order()
    assert (len(tokens), tokens[0] > 900, max(tokens[1:]) < 900) == (21, True, True)


def test_a_call_is_answered_at_once_while_a_job_waits_for_a_limit_of_a_minute(
    place: Place, broker: ServerProcess, start_sim: StartSim, make_fleet: MakeFleet
) -> None:
    shared = SharedFleet(place, broker, start_sim, (sim_key("one", "20/minute"),))
    shared.start_workers()
    fleet = make_fleet(broker.url)
    fleet.call(CHAT, chat("first"))
    bulk = [in_thread(lambda: fleet.call(CHAT, chat("bulk"), priority="bulk")) for _ in range(30)]
    wait_until(lambda: shared.calls() == 19, "the job uses what is left to it")
    shared.wait_until_ready(bulk=12)
    assert fleet.call(CHAT, chat("urgent"), timeout_s=20)["model"] == MODEL
    assert shared.calls() == 20
    fleet.close()
    for thread, _ in bulk:
        thread.join()


def test_what_a_gone_process_waited_for_is_never_sent(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    shared.start_workers()
    shared.set_keys("disable")
    program = f"import keyfleet; keyfleet.Fleet({shared.broker.url!r}).call({CHAT!r}, {chat('for nobody')!r})"
    gone = shared.place.start_program(program)
    shared.wait_until_ready(urgent=1)
    gone.end()
    shared.age_callers()
    shared.set_keys("enable")
    make_fleet(shared.broker.url).call(CHAT, chat("for somebody"))
    shared.wait_until_ready()
    with shared.broker.client() as client:
        wait_until(lambda: not client.hlen(KEYS.requests), "it was dropped")
    assert shared.calls() == 1


def test_calls_that_somebody_cancels_say_so_and_others_go_on(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    shared.start_workers()
    shared.set_keys("disable")
    fleet = make_fleet(shared.broker.url)
    thread, ends = in_thread(lambda: fleet.call(CHAT, chat("hello")))
    shared.wait_until_ready(urgent=1)
    with shared.broker.client() as client:
        (record,) = read_records(client, FLEET)
        assert record.facts.format == "calls"
        cancel_job(client, FLEET, record.job_id)
    thread.join()
    assert isinstance(ends[0], JobCancelled)
    shared.set_keys("enable")
    assert fleet.call(CHAT, chat("again"))["model"] == MODEL


def test_a_broker_that_is_not_there_is_told_at_once(make_fleet: MakeFleet, place: Place) -> None:
    fleet = make_fleet(f"unix://{place.directory}/nobody.sock")
    with pytest.raises(BrokerUnavailable, match="can't be used"):
        fleet.call(CHAT, chat("hello"))
