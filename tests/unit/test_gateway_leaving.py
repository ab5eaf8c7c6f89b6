"""Clients that leave a gateway, or read it slowly: what they asked for is given up, and nothing else is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest

from keyfleet.calls import Answer
from keyfleet.gateway.protocol import BoundedProtocol
from support.events import wait_until
from support.gateway_case import CHAT_BODY, STREAMED_BODY, RunningGateway, running_gateway
from support.serving_fleet import FakeStream, SentCall, ServedFleet, chat_answer

SHORT_S = 0.2


@pytest.fixture
def gateway() -> Iterator[RunningGateway]:
    with running_gateway(ServedFleet()) as gateway:
        yield gateway


def only_connection(gateway: RunningGateway) -> BoundedProtocol:
    (connection,) = gateway.server.server_state.connections
    assert isinstance(connection, BoundedProtocol)
    return connection


async def never(sent: SentCall) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError("woken")


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_whose_client_leaves_is_given_up(stream: bool) -> None:
    fleet = ServedFleet(never)
    with running_gateway(fleet) as gateway:
        with gateway.line() as line:
            line.post({**CHAT_BODY, "stream": stream})
            wait_until(lambda: fleet.sent, "the call is sent")
        wait_until(lambda: fleet.cancelled, "the call is given up")


def test_all_parts_of_a_list_are_given_up_with_it() -> None:
    fleet = ServedFleet(never)
    with running_gateway(fleet) as gateway:
        with gateway.line() as line:
            line.post({"model": "gpt", "prompt": ["a", "b", "c"]}, path="/v1/completions")
            wait_until(lambda: len(fleet.sent) == 3, "the parts are sent")
        wait_until(lambda: len(fleet.cancelled) == 3, "all parts are given up")


def test_a_call_is_given_up_though_its_client_had_sent_another_behind_it() -> None:
    fleet = ServedFleet(never)
    with running_gateway(fleet) as gateway:
        with gateway.line() as line:
            line.post()
            wait_until(lambda: fleet.sent, "the first call is sent")
            line.post()
            (connection,) = cast("set[BoundedProtocol]", gateway.server.server_state.connections)
            wait_until(lambda: connection.pipeline, "the second one has come")
        wait_until(lambda: fleet.cancelled, "the first call is given up")
        assert len(fleet.sent) == 1


NEXT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"


@pytest.mark.parametrize("more", [NEXT[:30], NEXT, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_call_is_given_up_though_its_client_has_sent_more_in_the_meantime(more: bytes) -> None:
    fleet = ServedFleet(never)
    with running_gateway(fleet) as gateway:
        with gateway.line() as line:
            line.post()
            wait_until(lambda: fleet.sent, "the first call is sent")
            connection = only_connection(gateway)
            before_s = connection._heard_s
            line.say(more)
            wait_until(lambda: connection._heard_s > before_s, "more has come")
        wait_until(lambda: fleet.cancelled, "the first call is given up")


def test_a_client_that_is_silent_amid_its_next_body_gets_the_answer_to_its_call() -> None:
    go_on = threading.Event()

    async def wait(sent: SentCall) -> Answer:
        await asyncio.to_thread(go_on.wait)
        return chat_answer(sent)

    with running_gateway(ServedFleet(wait), body_silence_s=SHORT_S / 4) as gateway, gateway.line() as line:
        line.post()
        wait_until(lambda: gateway.fleet.sent, "the first call is sent")
        connection = only_connection(gateway)
        line.say(NEXT)
        wait_until(lambda: connection._body_timer, "the next body is waited for")
        first = connection._body_timer
        wait_until(lambda: connection._body_timer is not first, "it was waited for in vain")
        go_on.set()
        assert line.hear().status == 200


def test_a_client_that_leaves_in_the_midst_of_its_body_makes_no_call(gateway: RunningGateway) -> None:
    with gateway.line() as line:
        line.say(line.head() + b"Content-Length: 100\r\n\r\n{")
    wait_until(lambda: not gateway.server.server_state.tasks, "the request is over")
    assert not gateway.fleet.sent


def test_a_stream_whose_client_leaves_is_stopped() -> None:
    async def go() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    stream = FakeStream(go())
    with running_gateway(ServedFleet(lambda sent: stream)) as gateway:
        with gateway.line() as line:
            line.post(STREAMED_BODY)
            line.hear_head()
            assert line.hear_chunk() == b"data: 1\n\n"
            assert not stream.closed.is_set()
        assert stream.closed.wait(10)


def test_events_go_out_one_by_one() -> None:
    go_on = threading.Semaphore(0)

    async def go() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number
            await asyncio.to_thread(go_on.acquire)

    with running_gateway(ServedFleet(lambda sent: FakeStream(go()))) as gateway, gateway.line() as line:
        line.post(STREAMED_BODY)
        line.hear_head()
        for number in range(3):
            assert line.hear_chunk() == b"data: %d\n\n" % number
            go_on.release()
        assert line.hear_chunk() == b""
        line.post(STREAMED_BODY)  # the connection can go on
        assert "200 OK" in line.hear_head()
        go_on.release(3)


def test_a_stream_that_nobody_reads_is_held_back_and_then_stopped() -> None:
    taken: list[int] = []

    async def go() -> AsyncIterator[bytes]:
        while True:
            taken.append(1)
            await asyncio.sleep(0)
            yield b"data: " + b"x" * 100_000 + b"\n\n"

    stream = FakeStream(go())
    with running_gateway(ServedFleet(lambda sent: stream), unread_s=SHORT_S) as gateway, gateway.line() as line:
        line.post(STREAMED_BODY)
        assert stream.closed.wait(20)
        assert len(taken) < 500
        wait_until(lambda: not gateway.server.server_state.connections, "the connection is gone")


def test_an_answer_that_nobody_reads_is_dropped() -> None:
    answer = Answer(200, b'{"a": "' + b"x" * 20_000_000 + b'"}')
    with running_gateway(ServedFleet(lambda sent: answer), unread_s=SHORT_S) as gateway, gateway.line() as line:
        line.post()
        wait_until(lambda: gateway.server.server_state.connections, "the connection is there")
        wait_until(lambda: not gateway.server.server_state.connections, "the connection is gone")


def test_an_answer_that_is_read_slowly_is_not() -> None:
    answer = Answer(200, b'{"a": "' + b"x" * 20_000_000 + b'"}')
    with running_gateway(ServedFleet(lambda sent: answer), unread_s=2 * SHORT_S) as gateway, gateway.line() as line:
        line.post()
        pause, heard = threading.Event(), 0
        while heard < 8_000_000:  # for longer than nothing may be read
            heard += len(line.socket.recv(200_000))
            pause.wait(SHORT_S / 10)
        while heard < 20_000_000:
            heard += len(line.socket.recv(1_000_000))
