"""What a gateway holds at once: bodies, and connections beyond the maximum."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from keyfleet.calls import Answer
from support.events import wait_until
from support.gateway_case import CHAT_BODY, Line, running_gateway
from support.serving_fleet import SentCall, ServedFleet, chat_answer

SHORT_S = 0.2


@pytest.mark.parametrize("is_chunked", [False, True])
def test_bodies_have_one_bound_together_which_calls_under_way_count_to(is_chunked: bool) -> None:
    go_on = threading.Event()

    async def wait(sent: SentCall) -> Answer:
        await asyncio.to_thread(go_on.wait)
        return chat_answer(sent)

    raw = json.dumps(CHAT_BODY).encode()
    room_bytes = len(raw) * 3 // 2
    with (
        running_gateway(ServedFleet(wait), max_held_bytes=room_bytes) as gateway,
        gateway.line() as one,
        gateway.line() as two,
    ):

        def post(line: Line) -> None:
            if is_chunked:
                line.say(line.head() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(raw), raw))
            else:
                line.post(raw)

        post(one)
        wait_until(lambda: gateway.fleet.sent, "the first call is sent")
        post(two)
        answered = two.hear()
        assert (answered.status, answered.error["code"]) == (503, "overloaded")
        assert answered.headers["retry-after"] == "5"
        go_on.set()
        assert one.hear().status == 200
        with gateway.line() as three:
            post(three)
            assert three.hear().status == 200


def test_connections_that_are_too_many_are_told_so() -> None:
    with running_gateway(ServedFleet(), max_connections=2) as gateway, gateway.line() as one, gateway.line() as two:
        for line in (one, two):
            line.post()
            assert line.hear().status == 200
        with gateway.line() as third:
            third.post()
            answered = third.hear()
            assert (answered.status, answered.error["code"]) == (503, "too_many_connections")
            assert answered.headers["retry-after"] == "1"
            assert third.is_ended()
        with gateway.line() as probe:
            probe.say(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert probe.hear().status == 200
        two.socket.close()
        wait_until(lambda: len(gateway.server.server_state.connections) < 2, "there is room")
        with gateway.line() as fourth:
            fourth.post()
            assert fourth.hear().status == 200


def test_a_connection_that_is_one_too_many_ends_after_its_answer() -> None:
    with running_gateway(ServedFleet(), max_connections=1) as gateway, gateway.line() as one:
        one.post()
        assert one.hear().status == 200
        with gateway.line() as probe:
            probe.say(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            answered = probe.hear()
            assert (answered.status, answered.headers["connection"]) == (200, "close")
            assert probe.is_ended()


def test_a_connection_that_is_one_too_many_and_says_nothing_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyfleet.gateway.protocol.TOO_MANY_HEAD_S", SHORT_S)
    with running_gateway(ServedFleet(), max_connections=1) as gateway, gateway.line() as one:
        one.post()
        assert one.hear().status == 200
        with gateway.line() as idle:
            assert idle.hear().status == 408
            assert idle.is_ended()
        one.post()
        assert one.hear().status == 200


def test_connections_that_are_far_too_many_are_ended_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyfleet.gateway.protocol.MOST_TOO_MANY", 1)
    with running_gateway(ServedFleet(), max_connections=1) as gateway, gateway.line() as one, gateway.line():
        wait_until(lambda: len(gateway.server.server_state.connections) == 2, "both are there")
        with gateway.line() as third:
            assert third.is_ended()
        one.post()
        assert one.hear().status == 200
