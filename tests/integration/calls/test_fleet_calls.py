"""Calls through a Fleet that brings its own server and workers."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from keyfleet import (
    ConfigurationError,
    DeadlineExceeded,
    Fleet,
    FleetClosed,
    InvalidRequest,
    NoKeyServes,
    ProviderError,
    RequestTooLarge,
)
from keyfleet.sim import SimConfig, SimProcess
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import CHAT, MODEL, MakeFleet, chat
from support.place import Place, sim_key


@pytest.fixture
def sim(start_sim: StartSim) -> SimProcess:
    return start_sim(SimConfig(keys=(sim_key("one"), sim_key("two"))))


@pytest.fixture
def fleet(make_fleet: MakeFleet, place: Place, sim: SimProcess) -> Fleet:
    path = place.write_keys(sim, (sim_key("one"), sim_key("two")), models={MODEL: {"tpm": 1000}})
    return make_fleet(keys=path)


def test_a_call_returns_the_response_or_raises_what_kept_it_from_coming(fleet: Fleet) -> None:
    assert fleet.call(CHAT, chat("hello"))["choices"][0]["message"]["content"] == "hello"
    with pytest.raises(
        NoKeyServes, match="no configured key serves the model 'other'; served are sim-model"
    ) as unserved:
        fleet.call(CHAT, chat("hello", model="other"))
    assert (unserved.value.served, unserved.value.status) == ((MODEL,), None)
    with pytest.raises(RequestTooLarge, match="more than the largest limit ever allows"):
        fleet.call(CHAT, chat("hello", max_tokens=5000))
    with pytest.raises(ProviderError, match="HTTP 400") as refused:
        fleet.call(CHAT, chat("hello", messages=[]))
    assert (refused.value.status, refused.value.attempts) == (400, 1)
    assert refused.value.body["error"]["code"] == refused.value.code
    with pytest.raises(InvalidRequest, match="stream: expected false or nothing"):
        fleet.call(CHAT, chat("hello", stream=True))
    for timeout_s in (0, float("inf"), float("nan"), "soon"):
        with pytest.raises(InvalidRequest, match="timeout_s: expected a number of seconds above 0"):
            fleet.call(CHAT, chat("hello"), timeout_s=timeout_s)  # type: ignore[arg-type]
    assert fleet.call(CHAT, chat("hello"), timeout_s=1e13)["model"] == MODEL
    with pytest.raises(InvalidRequest, match="body: is no JSON"):
        fleet.call(CHAT, chat("hello", temperature=float("nan")))
    with pytest.raises(InvalidRequest, match="body: expected bytes, found str"):
        fleet.send(CHAT, "{}")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="max_attempts: expected a whole number above 0"):
        fleet.send(CHAT, b"{}", max_attempts=0)
    with pytest.raises(InvalidRequest, match="priority: expected urgent or bulk"):
        fleet.call(CHAT, chat("hello"), priority="soon")  # type: ignore[arg-type]


def test_what_is_sent_as_text_comes_back_as_text_also_where_it_is_the_providers_error(fleet: Fleet) -> None:
    answer = fleet.send(CHAT, b'{"model": "sim-model", "messages": [{"role": "user", "content": "hi"}]}')
    assert (answer.status, answer.attempts, answer.key_name in ("one", "two")) == (200, 1, True)
    assert b'"hi"' in answer.body
    assert answer.request_id
    refused = fleet.send(CHAT, b'{"model": "sim-model"}')
    assert (refused.status, b'"error"' in refused.body) == (400, True)


def test_many_threads_and_many_tasks_call_at_once(fleet: Fleet) -> None:
    found: list[str] = []

    def call(number: int) -> None:
        found.append(fleet.call(CHAT, chat(f"thread {number}"))["choices"][0]["message"]["content"])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()

    async def tasks() -> list[str]:
        answers = await asyncio.gather(*(fleet.acall(CHAT, chat(f"task {number}")) for number in range(40)))
        return [answer["choices"][0]["message"]["content"] for answer in answers]

    assert asyncio.run(tasks()) == [f"task {number}" for number in range(40)]
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"thread {number}" for number in range(8)]


def test_a_call_that_can_not_start_in_time_is_dropped_unpaid(
    make_fleet: MakeFleet, place: Place, sim: SimProcess
) -> None:
    path = place.write_keys(sim, (sim_key("one"),), requests=["1/hour"])
    fleet = make_fleet(keys=path)
    fleet.call(CHAT, chat("first"))
    with pytest.raises(DeadlineExceeded, match="could not be started before its time was over") as late:
        fleet.call(CHAT, chat("second"), timeout_s=0.3)
    assert not late.value.was_sent
    with pytest.raises(DeadlineExceeded):
        asyncio.run(fleet.acall(CHAT, chat("third"), timeout_s=0.3))
    assert sim.stats()["keys"]["one"]["requests"] == 1


def test_a_call_whose_answer_takes_too_long_says_that_it_was_sent_and_is_stopped(fleet: Fleet, sim: SimProcess) -> None:
    fleet.call(CHAT, chat("hello"))
    with pytest.raises(DeadlineExceeded, match="was sent, and not answered") as late:
        fleet.call(CHAT, chat("[[sim:hang]]"), timeout_s=2.0)
    assert late.value.was_sent
    wait_until(lambda: not sim.stats()["in_flight"], "the call is stopped at the provider")


def test_a_task_that_is_cancelled_takes_its_call_back(make_fleet: MakeFleet, place: Place, sim: SimProcess) -> None:
    fleet = make_fleet(keys=place.write_keys(sim, (sim_key("one"),), requests=["1/hour"]))
    fleet.call(CHAT, chat("first"))

    async def cancel_one() -> None:
        task = asyncio.ensure_future(fleet.acall(CHAT, chat("second")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_one())
    desk = fleet.open().desks.own
    wait_until(lambda: desk.waiting == 0, "the call was taken back")
    assert sim.stats()["keys"]["one"]["requests"] == 1


def test_closing_ends_what_waits_and_takes_nothing_more(make_fleet: MakeFleet, place: Place, sim: SimProcess) -> None:
    fleet = make_fleet(keys=place.write_keys(sim, (sim_key("one"),), requests=["1/hour"]))
    fleet.call(CHAT, chat("first"))
    raised: list[BaseException] = []

    def call() -> None:
        try:
            fleet.call(CHAT, chat("second"))
        except FleetClosed as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    desk = fleet.open().desks.own
    wait_until(lambda: desk.waiting == 1, "the call waits")
    fleet.close()
    thread.join()
    assert len(raised) == 1
    for again in (fleet.close, fleet.close):
        again()
    with pytest.raises(FleetClosed):
        fleet.call(CHAT, chat("third"))
    with pytest.raises(FleetClosed):
        asyncio.run(fleet.acall(CHAT, chat("third")))
    assert sim.stats()["keys"]["one"]["requests"] == 1
    place.wait_until_empty()


def test_keys_may_be_given_as_they_are_and_stand_in_no_file(
    make_fleet: MakeFleet, place: Place, sim: SimProcess
) -> None:
    fleet = make_fleet(keys=[{"api_key": "sk-of-one", "base_url": f"{sim.base_url}/v1", "name": "mine"}])
    assert (
        fleet.send(CHAT, b'{"model": "sim-model", "messages": [{"role": "user", "content": "hi"}]}').key_name == "mine"
    )
    written = [path.read_text(errors="replace") for path in place.state_dir.rglob("*") if path.is_file()]
    assert not any("sk-of-one" in text for text in written)
    fleet.close()
    assert list((place.state_dir / "keys").iterdir()) == []


def test_a_model_that_is_added_to_the_keys_file_is_served_from_then_on(
    fleet: Fleet, place: Place, sim: SimProcess
) -> None:
    with pytest.raises(NoKeyServes):
        fleet.call(CHAT, chat("hello", model="new"))
    place.write_keys(sim, (sim_key("one"), sim_key("two")), models={MODEL: {"tpm": 1000}, "new": {"tpm": 1000}})
    wait_until(lambda: fleet.lanes("new") == 2, "the file was read again")
    assert fleet.call(CHAT, chat("hello", model="new"))["model"] == "new"


def test_wrong_keys_and_settings_are_named(make_fleet: MakeFleet) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"keys": []}, "keys: expected at least one key"),
        ({"keys": [{"api_key": "sk-good"}, {"api_key": "sk-x", "tpn": 4}]}, r"keys\[1\]: .*tpn"),
        ({"keys": ["sk-good", 5]}, r"keys\[1\]: expected an API key or a mapping"),
        ({"keys": ["sk-good"], "use": "170%"}, "use: expected"),
        ({"keys": ["sk-good"], "concurrency": 1.5}, "concurrency: expected a whole number above 0"),
        (
            {"keys": "sk-made-up-as-a-text"},
            "keys: there is no such file; expected the name of a keys file, or API keys",
        ),
        ({"keys": {"api_key": "sk-made-up"}}, "keys: expected the name of a keys file, or a list .* not dict"),
        ({"broker_url": "http://here"}, "broker_url: expected"),
        ({"workers": False}, "workers=False needs a broker"),
        ({}, "no API keys found"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigurationError, match=message) as refused:
            make_fleet(**options).call(CHAT, chat("hello"))
        assert "sk-made-up" not in str(refused.value)


FORKING = """
import asyncio, os, signal, keyfleet
fleet = keyfleet.Fleet(keys={keys!r})
fleet.call({endpoint!r}, {body!r})
child = os.fork()
if not child:
    for call in (fleet.call, lambda *arguments: asyncio.run(fleet.acall(*arguments))):
        try:
            call({endpoint!r}, {body!r})
        except keyfleet.FleetClosed as error:
            print(error, flush=True)
    signal.pause()
fleet.close()
print("closed", flush=True)
os.kill(child, signal.SIGKILL)
"""


def test_a_forked_child_is_told_and_holds_up_nothing(place: Place, sim: SimProcess) -> None:
    keys = str(place.write_keys(sim, (sim_key("one"),)))
    code = FORKING.format(keys=keys, endpoint=CHAT, body=chat("hello"))
    program = place.start_program(code, PYTHONWARNINGS="ignore")
    wait_until(lambda: "closed" in program.stdout, "the parent has closed its fleet")
    wait_until(lambda: program.stdout.count("made in another process") == 2, "the child was told twice")
    assert program.wait() == 0, program.stderr
    place.wait_until_empty()


def test_a_fleet_belongs_to_the_process_that_made_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.call(CHAT, chat("hello"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        with pytest.raises(FleetClosed, match="made in another process"):
            fleet.call(CHAT, chat("hello"))
