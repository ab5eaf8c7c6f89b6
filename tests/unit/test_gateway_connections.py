"""What clients may do on a connection, over real sockets: slowly, much at once, or wrongly."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from keyfleet.calls import Answer
from support.gateway_case import CHAT, CHAT_BODY, STREAMED_BODY, Line, RunningGateway, running_gateway
from support.serving_fleet import FakeStream, SentCall, ServedFleet, chat_answer

SHORT_S = 0.2


@pytest.fixture
def gateway() -> Iterator[RunningGateway]:
    with running_gateway(ServedFleet()) as gateway:
        yield gateway


@pytest.fixture
def line(gateway: RunningGateway) -> Iterator[Line]:
    with gateway.line() as line:
        yield line


def test_several_calls_share_a_connection(line: Line) -> None:
    for _ in range(3):
        line.post()
        assert line.hear().status == 200


def test_requests_that_are_sent_at_once_are_answered_in_their_order(line: Line, gateway: RunningGateway) -> None:
    line.say(
        b"".join(
            line.head() + b"Content-Length: %d\r\n\r\n%s" % (len(raw), raw)
            for raw in (json.dumps({**CHAT_BODY, "n": number}).encode() for number in range(1, 30))
        )
    )
    assert [line.hear().status for _ in range(29)] == [200] * 29
    assert [call.body["n"] for call in gateway.fleet.sent] == list(range(1, 30))


def test_a_body_may_come_in_pieces(line: Line) -> None:
    raw = json.dumps(CHAT_BODY).encode()
    line.say(line.head() + b"Transfer-Encoding: chunked\r\n\r\n")
    for at in range(len(raw)):
        line.say(b"1;ext=1\r\n" + raw[at : at + 1] + b"\r\n")
    line.say(b"0\r\nX-Trailer: 1\r\n\r\n")
    assert line.hear().status == 200


def test_a_trailer_is_no_header(line: Line, gateway: RunningGateway) -> None:
    raw = json.dumps(CHAT_BODY).encode()
    line.say(line.head() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(raw), raw))
    line.say(b"0\r\nX-Keyfleet-Priority: bulk\r\nX-Keyfleet-Job: a\r\n\r\n")
    assert line.hear().status == 200
    assert gateway.fleet.sent[0].options["priority"] == "urgent"


def test_who_asks_whether_to_go_on_is_told(line: Line) -> None:
    raw = json.dumps(CHAT_BODY).encode()
    line.say(line.head() + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(raw))
    assert line.hear_head() == "HTTP/1.1 100 Continue"
    line.say(raw)
    assert line.hear().status == 200


def test_who_asks_with_a_body_that_is_too_large_is_told_that_at_once() -> None:
    with running_gateway(ServedFleet(), max_body_bytes=1000, linger_s=SHORT_S) as gateway, gateway.line() as line:
        line.say(line.head() + b"Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
        assert line.hear().status == 413
        assert line.is_ended()


def test_a_length_that_is_too_much_is_refused_before_the_body_comes() -> None:
    with running_gateway(ServedFleet(), linger_s=SHORT_S) as gateway, gateway.line() as line:
        line.say(line.head() + b"Content-Length: 99999999999999\r\n\r\n{")
        answered = line.hear()
        assert (answered.status, answered.error["code"]) == (413, "request_too_large")
        assert answered.headers["connection"] == "close"
        assert line.is_ended()


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_much() -> None:
    with running_gateway(ServedFleet(), max_body_bytes=1000, linger_s=SHORT_S) as gateway, gateway.line() as line:
        line.say(line.head() + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e9\r\n" + b"x" * 1001 + b"\r\n")
        assert line.hear().status == 413
        assert line.is_ended()
        assert not gateway.fleet.sent


def test_who_is_refused_gets_to_know_it_though_the_whole_body_is_sent_first() -> None:
    with running_gateway(ServedFleet(), max_body_bytes=1000) as gateway, gateway.line() as line:
        line.post(b"x" * 5_000_000)
        assert line.hear().status == 413
        assert line.is_ended()


def test_after_a_small_body_that_nobody_wanted_the_connection_goes_on(line: Line) -> None:
    line.post(key="wrong")
    assert line.hear().status == 401
    line.post()
    assert line.hear().status == 200


@pytest.mark.parametrize("beginning", [b"", b"POST /v1/chat", b"POST / HTTP/1.1\r\nHost: a\r\nX-A: ", b"\r\n\r\n"])
def test_a_head_that_doesnt_come_ends_the_connection(beginning: bytes) -> None:
    with running_gateway(ServedFleet(), head_s=SHORT_S) as gateway, gateway.line() as line:
        line.say(beginning)
        assert line.hear().status == 408
        assert line.is_ended()


def test_a_head_that_comes_byte_by_byte_has_no_more_time() -> None:
    with running_gateway(ServedFleet(), head_s=SHORT_S) as gateway, gateway.line() as line:
        ended = threading.Event()

        def drip() -> None:
            line.say(b"POST / HTTP/1.1\r\n")
            while not ended.wait(SHORT_S / 10):
                try:
                    line.say(b"X-A: 1\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert line.hear().status == 408
        finally:
            ended.set()
            dripping.join()


def test_the_second_head_on_a_connection_has_its_time_too() -> None:
    with running_gateway(ServedFleet(), head_s=SHORT_S) as gateway, gateway.line() as line:
        line.post()
        assert line.hear().status == 200
        line.say(b"POST ")
        assert line.hear().status == 408


def test_the_beginning_of_another_request_ends_no_call_that_takes_long() -> None:
    began, go_on = threading.Event(), threading.Event()

    async def slowly(sent: SentCall) -> Answer:
        began.set()
        await asyncio.to_thread(go_on.wait)
        return chat_answer(sent)

    with running_gateway(ServedFleet(slowly), head_s=SHORT_S) as gateway, gateway.line() as line:
        line.post()
        assert began.wait(10)
        line.say(b"POST ")
        line.say(b"/v1")
        threading.Timer(3 * SHORT_S, go_on.set).start()
        assert line.hear().status == 200


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
def test_a_body_that_stops_ends_the_connection(head: bytes) -> None:
    with running_gateway(ServedFleet(), body_silence_s=SHORT_S) as gateway, gateway.line() as line:
        line.say(line.head() + head)
        answered = line.hear()
        assert (answered.status, answered.error["code"]) == (408, "request_timeout")
        assert line.is_ended()
        assert not gateway.fleet.sent


def test_a_body_that_comes_slowly_but_steadily_is_waited_for() -> None:
    raw = json.dumps(CHAT_BODY).encode()
    with running_gateway(ServedFleet(), body_silence_s=5 * SHORT_S) as gateway, gateway.line() as line:
        line.say(line.head() + b"Content-Length: %d\r\n\r\n" % len(raw))
        pause = threading.Event()
        for at in range(0, len(raw), 4):  # longer altogether than any silence may be
            line.say(raw[at : at + 4])
            pause.wait(SHORT_S / 2)
        assert line.hear().status == 200


@pytest.mark.parametrize("name", [b"x", b"x" * 70_000 + b": 1\r\ny"])
def test_a_head_without_end_is_refused(line: Line, name: bytes) -> None:
    line.say(b"POST / HTTP/1.1\r\nHost: a\r\n" + name + b": ")
    for _ in range(8):
        try:
            line.say(b"a" * 16_000)
        except OSError:
            break
    assert line.hear().status == 431
    assert line.is_ended()


@pytest.mark.parametrize("end", [b"0\r\nX-Trailer: ", b"1;ext="])
def test_so_are_trailers_and_extensions_without_end(line: Line, end: bytes) -> None:
    line.say(line.head() + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n" + end)
    for _ in range(40):
        try:
            line.say(b"a" * 16_000)
        except OSError:
            break
    assert line.hear().status == 431


@pytest.mark.parametrize(
    "raw",
    [
        b"Hello?\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: a\rX-B: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_a_400_in_openais_shape(line: Line, raw: bytes) -> None:
    line.say(raw)
    answered = line.hear()
    assert (answered.status, answered.error["code"]) == (400, "invalid_request")
    assert line.is_ended()


def test_a_chunk_that_is_none_ends_the_call_before_it_begins(line: Line, gateway: RunningGateway) -> None:
    line.say(line.head() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert line.hear().status == 400
    assert not gateway.fleet.sent


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_asking_for_another_protocol_changes_nothing(line: Line, gateway: RunningGateway, protocol: bytes) -> None:
    for _ in range(2):
        line.post(more=b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMA\r\n" % protocol)
        assert line.hear().status == 200
    raw = json.dumps(CHAT_BODY).encode()
    line.say(line.head() + b"Connection: upgrade, close\r\nUpgrade: %s\r\n" % protocol)
    line.say(b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(raw), raw))
    answered = line.hear()
    assert (answered.status, answered.headers["connection"]) == (200, "close")
    assert [call.body for call in gateway.fleet.sent] == [CHAT_BODY] * 3


def test_a_header_line_cant_be_put_into_an_answer(line: Line) -> None:
    line.say(
        b"GET /v1/models/a%0d%0aX-Injected:%201 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer gateway-key-1\r\n\r\n"
    )
    answered = line.hear()
    assert answered.status == 404
    assert "x-injected" not in answered.headers


def test_an_old_client_is_answered_too(line: Line) -> None:
    line.say(b"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer gateway-key-1\r\n\r\n")
    assert line.hear().status == 200
    assert line.is_ended()


def test_an_old_client_gets_a_stream_without_chunks() -> None:
    async def go() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number

    with running_gateway(ServedFleet(lambda sent: FakeStream(go()))) as gateway, gateway.line() as line:
        raw = json.dumps(STREAMED_BODY).encode()
        line.say(line.head().replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: %d\r\n\r\n%s" % (len(raw), raw))
        head = line.hear_head()
        assert "200 OK" in head
        assert "chunked" not in head
        heard = b"".join(iter(lambda: line.socket.recv(1000), b""))
        assert (line._unread + heard) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_no_server_is_named(line: Line) -> None:
    line.post()
    assert "server" not in line.hear().headers
    assert CHAT.startswith("/v1")


def test_one_bad_client_disturbs_no_other(gateway: RunningGateway) -> None:
    bad: list[Any] = [gateway.line() for _ in range(20)]
    for number, line in enumerate(bad):
        line.say([b"POST ", b"nonsense\r\n\r\n", line.head() + b"Content-Length: 99\r\n\r\n{", b""][number % 4])
    with gateway.line() as good:
        good.post()
        assert good.hear().status == 200
    for line in bad:
        line.socket.close()
