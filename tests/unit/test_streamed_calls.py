"""Streamed calls of a worker, against a scripted provider: what is passed on, and how the call ends."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from keyfleet.config import Environment, KeyConfig, SecretReference
from keyfleet.ledger import JobOptions, Taken
from keyfleet.ledger.pieces import StreamHead
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.piece_sender import PieceSender
from keyfleet_workers.dispatch.streamed_calls import StreamedCalls
from keyfleet_workers.provider import Answer, CallFailed
from keyfleet_workers.provider.ongoing_call import OngoingCall
from keyfleet_workers.provider.verdict import CallFailure
from support.events import wait_until
from support.scripted_server import SECRET, MakeClient, ScriptedServer, hang_up, reset

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nX-Request-Id: r1\r\n"
TEXT = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'
USAGE = b'data: {"model": "m", "choices": [], "usage": {"total_tokens": 7}}\n\n'
DONE = b"data: [DONE]\n\n"


def chunked(*parts: bytes, is_whole: bool = True) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + (b"0\r\n\r\n" if is_whole else b"")


class Passed:
    """As an outgoing stream: keeps what is put into it."""

    def __init__(self, head: StreamHead) -> None:
        self.head = head
        self.events: list[bytes] = []
        self.is_finished = False

    def put(self, event: bytes) -> None:
        self.events.append(event)

    def finish(self) -> int:
        self.is_finished = True
        return len(self.events)


class StreamCase:
    """One key's streamed calls."""

    def __init__(self, server: ScriptedServer, make_client: MakeClient, **key: Any) -> None:
        self.server = server
        self.binding = KeyBinding(KeyConfig("one", SecretReference(SECRET), **key), Environment({}))
        self.passed: list[Passed] = []
        self.ongoing = OngoingCall()
        self.heads: list[Answer] = []
        self.calls = StreamedCalls(self.binding, make_client(server.base_url), cast(PieceSender, self))

    @contextmanager
    def stream(self, queue: str, key: str, token: str, head: StreamHead, ongoing: OngoingCall) -> Iterator[Passed]:
        self.passed.append(Passed(head))
        yield self.passed[-1]

    def call(self, body: bytes = b'{"stream": true}', endpoint: str = "/v1/chat/completions") -> Answer:
        taken = Taken("job:1", "t", 5, b"", endpoint, "m", body, {}, JobOptions(), (), streams=True)
        return self.calls.call("q", taken, 10.0, self.ongoing, self.note_begun)

    def note_begun(self, head: Answer) -> None:
        assert (self.ongoing.has_begun, self.passed[-1].events) == (True, [])
        self.heads.append(head)

    def text(self) -> bytes:
        return b"".join(self.passed[-1].events)


@pytest.fixture
def case(provider: ScriptedServer, make_client: MakeClient) -> StreamCase:
    return StreamCase(provider, make_client)


def test_whole_events_are_passed_on_however_they_are_cut_up(case: StreamCase) -> None:
    stream = TEXT + TEXT + DONE
    case.server.answer_with(chunked(*(stream[at : at + 7] for at in range(0, len(stream), 7))))
    answer = case.call()
    passed = case.passed[-1]
    assert (passed.events, passed.is_finished, case.ongoing.has_begun) == ([TEXT, TEXT, DONE], True, True)
    assert passed.head == StreamHead(200, "one", 1, "r1")
    assert (answer.status, answer.body) == (200, b'{"model": null}')
    (head,) = case.heads
    assert (head.status, head.headers["x-request-id"], head.body, head.begun_s) == (200, "r1", b"", answer.begun_s)
    assert head.written_s <= (head.begun_s or 0) <= head.finished_s <= answer.finished_s


def test_the_usage_is_asked_for_and_is_kept_from_a_caller_that_did_not_ask(case: StreamCase) -> None:
    case.server.answer_with(chunked(TEXT, USAGE, DONE))
    answer = case.call()
    assert b'"stream_options": {"include_usage": true}' in case.server.requests[0]
    assert b"accept: text/event-stream" in case.server.requests[0].lower()
    assert (case.text(), answer.body) == (TEXT + DONE, b'{"model": "m", "usage": {"total_tokens": 7}}')
    case.call(b'{"stream": true, "stream_options": {"include_usage": true}}')
    assert case.text() == TEXT + USAGE + DONE


def test_an_answer_that_is_no_stream_is_the_answer(case: StreamCase) -> None:
    case.server.answer_with(b"HTTP/1.1 429 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    assert (case.call().status, case.passed, case.ongoing.has_begun) == (429, [], False)


def test_an_error_in_place_of_a_beginning_is_the_answer_and_can_be_retried(case: StreamCase) -> None:
    case.server.answer_with(chunked(b": wait\n\n", b'data: {"error": {"message": "overloaded"}}\n\n'))
    answer = case.call()
    assert (answer.body, case.passed[-1].events, case.ongoing.has_begun) == (
        b'{"error": {"message": "overloaded"}}',
        [],
        False,
    )
    assert case.heads == []


def test_an_error_in_its_midst_is_passed_on_and_is_what_the_call_ends_with(case: StreamCase) -> None:
    bad = b'data: {"error": {"message": "key %s is bad"}}\n\n' % SECRET.encode()
    case.server.answer_with(chunked(TEXT, bad))
    answer = case.call()
    assert (case.ongoing.has_begun, b"is bad" in answer.body, b"is bad" in case.text()) == (True, True, True)
    assert SECRET.encode() not in case.text()


def test_secrets_that_an_answer_repeats_are_hidden(case: StreamCase) -> None:
    case.server.answer_with(chunked(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % SECRET.encode(), DONE))
    case.call()
    assert SECRET.encode() not in case.text()


@pytest.mark.parametrize(
    "data",
    [
        chunked(TEXT, is_whole=False),
        HEAD + b"Content-Length: 1000\r\n\r\n" + TEXT,
        HEAD + b"Connection: close\r\n\r\n" + TEXT,
    ],
    ids=["chunked", "with a length", "until the connection's end"],
)
def test_a_stream_that_breaks_off_has_failed(case: StreamCase, data: bytes) -> None:
    case.server.answer_with(data, hang_up)
    with pytest.raises(CallFailed) as failed:
        case.call()
    assert (failed.value.failure, case.ongoing.has_begun) == (CallFailure.CUT_OFF, True)
    assert (case.text(), case.passed[-1].is_finished) == (TEXT, True)


def test_one_without_a_length_is_whole_when_it_says_so(case: StreamCase) -> None:
    case.server.answer_with(HEAD + b"Connection: close\r\n\r\n" + TEXT + DONE, hang_up)
    assert case.call().status == 200


def test_what_breaks_behind_its_last_event_is_whole(case: StreamCase) -> None:
    case.server.answer_with(chunked(TEXT, DONE, is_whole=False), reset)
    assert (case.call().status, case.ongoing.pieces) == (200, 2)
    case.server.answer_with(chunked(TEXT, DONE, is_whole=False), case.server.hang)
    assert case.call().status == 200


def test_a_stream_of_openais_that_does_not_say_its_end_has_broken_off(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    provider.answer_with(chunked(TEXT))
    with pytest.raises(CallFailed):
        StreamCase(provider, make_client).call()
    assert StreamCase(provider, make_client, provider="compatible").call().status == 200
    assert StreamCase(provider, make_client).call(endpoint="/v1/images/generations").status == 200


def test_stopping_a_call_that_was_read_hits_no_other_on_its_connection(case: StreamCase) -> None:
    case.server.answer_with(chunked(TEXT, DONE))
    ended = case.ongoing
    end, ended.end = ended.end, lambda: None  # type: ignore[method-assign] # as if it took its time
    case.call()
    case.ongoing = OngoingCall()
    hold = threading.Event()

    def answer(connection: Any) -> None:
        hold.wait(10)
        connection.sendall(chunked(TEXT, DONE))

    case.server.script = answer
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(case.call()), daemon=True)
    thread.start()
    wait_until(lambda: len(case.server.requests) == 2, "the other call is under way")
    ended.stop()
    end()
    hold.set()
    thread.join(10)
    assert ([one.status for one in answers], case.server.connections) == ([200], 1)


def test_stopping_a_call_never_takes_its_encryption_away() -> None:
    ours, theirs = socket.socketpair()
    secure = ssl.create_default_context().wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False)
    ongoing = OngoingCall()
    ongoing.goes_over(secure)
    ongoing.stop()
    assert theirs.recv(1) == b""
    assert secure._sslobj is not None  # type: ignore[attr-defined] # without it, what is being written goes out plain
    secure.close()
    theirs.close()


def test_a_call_through_a_proxys_own_tls_can_be_stopped() -> None:
    ours, theirs = socket.socketpair()

    class Within:
        socket = ours

    ongoing = OngoingCall()
    ongoing.goes_over(Within())
    ongoing.stop()
    assert theirs.recv(1) == b""
    ours.close()
    theirs.close()


def test_a_stream_without_any_event_has_failed_and_not_begun(case: StreamCase) -> None:
    case.server.answer_with(chunked())
    with pytest.raises(CallFailed):
        case.call()
    assert not case.ongoing.has_begun


def test_a_provider_that_falls_silent_in_its_midst_is_given_up(case: StreamCase) -> None:
    case.server.answer_with(chunked(TEXT, is_whole=False), case.server.hang)
    taken = Taken("job:1", "t", 5, b"", "/v1/x", "m", b"{}", {}, JobOptions(), (), streams=True)
    with pytest.raises(CallFailed) as failed:
        case.calls.call("q", taken, 0.1, case.ongoing, case.note_begun)
    assert failed.value.failure is CallFailure.TIMED_OUT


@pytest.mark.parametrize("sent", [b"", chunked(TEXT, is_whole=False)], ids=["before the answer", "in its midst"])
def test_a_call_can_be_stopped_from_another_thread_and_its_provider_sees_that(case: StreamCase, sent: bytes) -> None:
    left = threading.Event()

    def wait_for_the_end(connection: Any) -> None:
        assert connection.recv(10) == b""
        left.set()

    case.server.answer_with(sent, wait_for_the_end)
    ends: list[CallFailed] = []

    def call() -> None:
        with pytest.raises(CallFailed) as failed:
            case.call()
        ends.append(failed.value)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    wait_until(lambda: any(one.events for one in case.passed) if sent else case.server.requests, "it is under way")
    case.ongoing.stop()
    thread.join(10)
    assert left.wait(10)
    assert (len(ends), case.ongoing.is_stopped) == (1, True)


def test_a_call_that_is_stopped_before_it_is_written_is_never_sent(case: StreamCase) -> None:
    case.ongoing.stop()
    with pytest.raises(CallFailed) as failed:
        case.call()
    assert (failed.value.written_s, case.server.requests) == (None, [])


def test_a_connection_whose_stream_was_read_is_used_again(case: StreamCase) -> None:
    case.server.answer_with(chunked(TEXT, DONE))
    for _ in range(3):
        case.call()
    assert (case.server.connections, len(case.server.requests)) == (1, 3)
