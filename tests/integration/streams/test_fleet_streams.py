"""Streams through a Fleet that brings its own server and workers."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from keyfleet import Fleet, InvalidRequest, NoKeyServes, ProviderError, StreamBroken
from keyfleet.sim import SimAnswers, SimConfig, SimLatency, SimProcess
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import CHAT, MODEL, MakeFleet, chat
from support.place import Place, sim_key
from support.scripted_server import ScriptedServer

ANSWER_BYTES = 200

EVENTS, EVENT_BYTES = 150, 200_000
"""An answer of 30 MB, of which the systems' own buffers hold some."""


class LongAnswer(ScriptedServer):
    """A provider that sends a long answer as fast as its caller takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_events = 0
        self.script = self._send

    def _send(self, connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        event = b'data: {"text": "%s"}\n\n' % (b"x" * EVENT_BYTES)
        connection.sendall(head)
        for _ in range(EVENTS):
            connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            self.sent_events += 1
        connection.sendall(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def has_come_to_rest(self) -> bool:
        """Whether nothing was sent for a while."""
        before = self.sent_events
        threading.Event().wait(0.5)
        return before == self.sent_events


@pytest.fixture
def sim(start_sim: StartSim) -> SimProcess:
    answers, latency = SimAnswers(answer_bytes=ANSWER_BYTES), SimLatency(first_token_ms=20, token_interval_ms=2)
    return start_sim(SimConfig(keys=(sim_key("one"), sim_key("two")), answers=answers, latency=latency))


@pytest.fixture
def fleet(make_fleet: MakeFleet, place: Place, sim: SimProcess) -> Fleet:
    return make_fleet(keys=place.write_keys(sim, (sim_key("one"), sim_key("two")), models={MODEL: {"rpm": 6000}}))


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def by_status(sim: SimProcess) -> dict[str, int]:
    counts: dict[str, int] = sim.stats()["by_status"]
    return counts


def test_an_answer_comes_token_by_token_and_is_the_same_as_the_whole_one(fleet: Fleet, sim: SimProcess) -> None:
    chunks = list(fleet.stream(CHAT, chat("hello")))
    whole = fleet.call(CHAT, chat("hello"))
    assert text_of(chunks) == whole["choices"][0]["message"]["content"]
    assert len(chunks) > 20
    events = list(fleet.stream("/v1/responses", {"model": MODEL, "input": "hello"}))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    asked = {**chat("hello"), "stream_options": {"include_usage": True}}
    assert [chunk["usage"]["total_tokens"] for chunk in fleet.stream(CHAT, asked) if chunk["usage"]]
    assert not any(chunk.get("usage") for chunk in chunks)


def test_what_fails_before_it_begins_is_retried_and_what_fails_for_good_is_raised(
    fleet: Fleet, sim: SimProcess
) -> None:
    assert text_of(list(fleet.stream(CHAT, chat("a [[sim:500x1]]")))).startswith("a ")
    assert text_of(list(fleet.stream(CHAT, chat("b [[sim:resetx1]]")))).startswith("b ")
    with pytest.raises(ProviderError, match="HTTP 400"):
        list(fleet.stream(CHAT, chat("c [[sim:400]]")))
    with pytest.raises(NoKeyServes):
        list(fleet.stream(CHAT, chat("d", model="other")))
    with pytest.raises(InvalidRequest, match="stream: expected false or nothing"):
        fleet.call(CHAT, chat("e", stream=True))
    with pytest.raises(InvalidRequest, match=r"stream: expected true$"):
        fleet.send_stream(CHAT, b'{"model": "sim-model", "messages": []}')


@pytest.mark.parametrize(("fault", "says"), [("break_off", "the answer broke off"), ("stream_error", "had an error")])
def test_what_breaks_off_in_its_midst_raises_and_is_not_asked_for_again(
    fleet: Fleet, sim: SimProcess, fault: str, says: str
) -> None:
    chunks: list[Any] = []
    with pytest.raises(StreamBroken, match=says):
        chunks.extend(fleet.stream(CHAT, chat(f"hello [[sim:{fault}]]")))
    assert text_of(chunks)
    assert by_status(sim) == {fault: 1}


def test_leaving_a_stream_and_giving_up_a_call_stop_them_at_the_provider(fleet: Fleet, sim: SimProcess) -> None:
    for _ in fleet.stream(CHAT, chat("hello [[sim:stall]]")):
        break
    wait_until(lambda: by_status(sim) == {"stall": 1}, "the provider sees its client leave")

    async def give_up() -> None:
        call = asyncio.create_task(fleet.acall(CHAT, chat("hello [[sim:hang]]")))
        await asyncio.to_thread(wait_until, lambda: sim.stats()["in_flight"], "the call is in flight")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(give_up())
    wait_until(lambda: by_status(sim).get("hang") == 1, "the provider sees its client leave")


def test_a_reader_that_is_slow_holds_the_provider_up_and_loses_nothing(make_fleet: MakeFleet, place: Place) -> None:
    provider = LongAnswer()
    keys = [{"name": "one", "api_key": "sk-long-answers-only", "base_url": provider.base_url, "rpm": 600}]
    fleet = make_fleet(keys=keys)
    chunks = fleet.stream(CHAT, chat("hello"))
    next(chunks)
    wait_until(provider.has_come_to_rest, "the provider is held up")
    assert provider.sent_events < EVENTS / 2
    assert sum(1 for _ in chunks) == EVENTS - 1


def test_many_streams_at_once_each_get_their_own(fleet: Fleet, sim: SimProcess) -> None:
    async def one(number: int) -> str:
        return text_of([chunk async for chunk in fleet.astream(CHAT, chat(f"number {number}."))])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(60)))

    texts = asyncio.run(all_of_them())
    assert [text.partition(".")[0] for text in texts] == [f"number {number}" for number in range(60)]
