"""Streams whose worker, gateway, client or broker is lost in their midst: each has an end, and no part comes twice."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable
from contextlib import closing
from typing import Any

import openai as official
import pytest

from keyfleet import Fleet, StreamBroken
from keyfleet.calls import replies
from keyfleet.ledger import queue_of
from keyfleet.redis_keys import QueueKeys
from keyfleet.sim import SimAnswers, SimLatency
from support.breakable_server import BreakableServer
from support.events import wait_until
from support.fixtures import StartSim
from support.fleet_case import LEASE_S
from support.fleets import CHAT, FLEET, MODEL, MakeFleet, SharedFleet, chat
from support.place import Place, sim_key
from support.process_trees import kill_tree
from support.shared_gateway import SharedGateway

LONG_BYTES = 8000
"""An answer of so many bytes takes half a minute, so nobody sees its end."""

SHORT_BYTES = 600
"""One of so many takes some two seconds."""

STREAM_SILENT_S = 3.0
"""For so long a worker may be silent in the test of a broker that stands still: longer than the two seconds after which
it speaks by itself, as a busy machine may leave it that late (s)."""

FROZEN_S = 4.0
"""For so long the broker stands still in that test (s)."""

PROGRAM = """
import openai
client = openai.OpenAI(base_url={base_url!r}, api_key="any", max_retries=0)
for chunk in client.chat.completions.create(**{body!r}):
    print(chunk.id, flush=True)
"""


@pytest.fixture
def start(place: Place, breakable_broker: BreakableServer, start_sim: StartSim) -> Callable[[int], SharedFleet]:
    """A fleet with answers of so many bytes, of which the provider sends some 300 a second."""
    latency = SimLatency(first_token_ms=20, token_interval_ms=25)
    keys = sim_key("one"), sim_key("two")
    return lambda size_bytes: SharedFleet(
        *(place, breakable_broker, start_sim, keys), answers=SimAnswers(answer_bytes=size_bytes), latency=latency
    )


@pytest.fixture
def shared(start: Callable[[int], SharedFleet]) -> SharedFleet:
    return start(LONG_BYTES)


@pytest.fixture
def gateway(shared: SharedFleet) -> SharedGateway:
    gateway = SharedGateway(shared.place, shared.broker.url)
    gateway.wait_until_listening()
    return gateway


class Readers:
    """Threads that each read a stream; `heard` has what has come of each, `broken` why others were not whole."""

    def __init__(self, fleet: Fleet, count: int) -> None:
        self.heard = {f"reader {number}": "" for number in range(count)}
        self.broken: dict[str, str] = {}
        self._fleet = fleet
        self._threads = [threading.Thread(target=self._read, args=(text,)) for text in self.heard]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: all(len(heard) > len(text) for text, heard in self.heard.items()), "all have begun")

    def _read(self, text: str) -> None:
        try:
            for chunk in self._fleet.stream(CHAT, chat(text)):
                self.heard[text] += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        except StreamBroken as error:
            self.broken[text] = str(error)

    def assert_each_has_its_whole_answer(self) -> None:
        for thread in self._threads:
            thread.join()
        whole = self._fleet.call(CHAT, chat("whole"))["choices"][0]["message"]["content"]
        assert self.broken == {}
        assert self.heard == {text: text + whole.removeprefix("whole") for text in self.heard}


def by_status(shared: SharedFleet) -> dict[str, int]:
    counts: dict[str, int] = shared.sim.stats()["by_status"]
    return counts


def wait_until_only(shared: SharedFleet, status: str, calls: int = 1) -> None:
    """Wait until the provider has seen `calls` calls, which ended so, and nothing of them is left."""
    wait_until(lambda: by_status(shared) == {status: calls}, f"the provider sees {status}")
    keys = QueueKeys(FLEET, queue_of(MODEL))
    with shared.broker.client() as client:
        wait_until(lambda: not client.exists(keys.requests), "the ledger is empty")
    assert by_status(shared) == {status: calls}


def begin(client: official.OpenAI, text: str) -> official.Stream[Any]:
    """A stream that has begun."""
    stream: official.Stream[Any] = client.chat.completions.create(**chat(text), stream=True)
    assert next(stream).choices
    return stream


def client_of(gateway: SharedGateway) -> official.OpenAI:
    return official.OpenAI(base_url=gateway.base_url, api_key="any", max_retries=0)


def test_a_stream_whose_worker_is_killed_ends_with_an_error_though_its_lease_still_stands(
    shared: SharedFleet, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "STREAM_SILENT_S", 1.0)
    worker = shared.start_worker("one")
    answer = make_fleet(shared.broker.url).stream(CHAT, chat("hello"))
    assert next(answer)["choices"]
    kill_tree(worker.pid)
    with pytest.raises(StreamBroken, match="the worker was lost in the midst of the answer"):
        list(answer)
    assert by_status(shared) == {"client_left": 1}


def test_a_gateways_clients_get_that_error_in_openais_shape_and_nothing_is_sent_again(
    shared: SharedFleet, gateway: SharedGateway
) -> None:
    shared.place.settings["KEYFLEET_LEASE_S"] = str(LEASE_S)
    worker = shared.start_worker("one")
    body, headers = json.dumps(chat("plain", stream=True)).encode(), {"content-type": "application/json"}
    plain = urllib.request.Request(f"{gateway.base_url}/chat/completions", body, headers)
    with client_of(gateway) as client, urllib.request.urlopen(plain) as lines:
        stream = begin(client, "hello")
        assert lines.readline().startswith(b"data: ")
        shared.start_worker("two")
        kill_tree(worker.pid)
        with pytest.raises(official.APIError, match="the worker was lost in the midst of the answer") as broken:
            list(stream)
        *_, last = lines.read().strip().split(b"\n\n")
    assert (broken.value.code, broken.value.type) == ("stream_broken", "server_error")
    assert last.startswith(b'data: {"error": {"message": "the worker was lost in the midst of the answer"')
    wait_until_only(shared, "client_left", 2)


def test_a_stream_of_a_gateway_that_is_killed_is_stopped_at_the_provider(
    shared: SharedFleet, gateway: SharedGateway
) -> None:
    shared.start_worker("one")
    with client_of(gateway) as client, closing(begin(client, "hello")):
        gateway.kill()
        shared.age_callers()
        wait_until_only(shared, "client_left")


def test_a_stream_whose_client_is_killed_is_stopped_at_the_provider(
    shared: SharedFleet, gateway: SharedGateway
) -> None:
    shared.start_worker("one")
    body = chat("hello", stream=True)
    client = shared.place.start_program(PROGRAM.format(base_url=gateway.base_url, body=body))
    wait_until(lambda: client.stdout, "the stream has begun")
    client.end()
    wait_until_only(shared, "client_left")


def test_streams_go_on_when_the_broker_was_killed_and_started_again(
    start: Callable[[int], SharedFleet], make_fleet: MakeFleet
) -> None:
    shared = start(SHORT_BYTES)
    shared.start_workers()
    readers = Readers(make_fleet(shared.broker.url), 6)
    shared.broker.kill()
    shared.broker.start()
    readers.assert_each_has_its_whole_answer()
    assert by_status(shared) == {"200": 7}


def test_streams_go_on_when_the_broker_stood_still_for_longer_than_workers_and_callers_may_be_silent(
    start: Callable[[int], SharedFleet],
    breakable_broker: BreakableServer,
    make_fleet: MakeFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replies, "STREAM_SILENT_S", STREAM_SILENT_S)
    shared = start(SHORT_BYTES)
    shared.start_workers()
    readers = Readers(make_fleet(shared.broker.url), 6)
    shared.age_callers()  # who may be silent for much longer than is waited here
    breakable_broker.freeze()
    threading.Event().wait(FROZEN_S)  # time itself is what is tested here
    breakable_broker.wake()
    readers.assert_each_has_its_whole_answer()
    assert by_status(shared) == {"200": 7}
