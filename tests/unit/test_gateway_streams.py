"""Streamed answers: passed on as they come, and never ended in silence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from keyfleet.calls import Answer
from keyfleet.errors import BrokerUnavailable, DeadlineExceeded, FleetClosed, RequestFailed
from support.gateway_case import CHAT, CHAT_BODY, STREAMED_BODY, Answered, ask
from support.serving_fleet import FakeStream, SentCall, ServedFleet


def stream_of(*pieces: bytes | Exception) -> FakeStream:
    async def go() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return FakeStream(go())


def asked(stream: Any, path: str = CHAT) -> Answered:
    return ask(ServedFleet(lambda sent: stream), path, {**STREAMED_BODY, "input": "a"})


def test_events_are_passed_on_as_they_came() -> None:
    stream = stream_of(b"data: 1\n\n", b": note\n\nevent: x\ndata: 2\n\n", b"data: [DONE]\n\n")
    answered = asked(stream)
    assert answered.body == b"data: 1\n\n: note\n\nevent: x\ndata: 2\n\ndata: [DONE]\n\n"
    assert answered.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        "x-request-id": "req-1",
        "x-keyfleet-key": "key-1",
        "x-keyfleet-attempts": "1",
    }
    assert stream.closed.is_set()


def test_only_what_asks_for_it_is_streamed() -> None:
    fleet = ServedFleet()
    for wanted in (True, False, None):
        ask(fleet, CHAT, {**CHAT_BODY, "stream": wanted})
    assert [call.streamed for call in fleet.sent] == [True, False, False]


def test_a_streamed_call_has_the_same_options() -> None:
    fleet = ServedFleet()
    ask(fleet, CHAT, STREAMED_BODY, headers={"x-keyfleet-priority": "bulk", "x-keyfleet-job": "j"})
    assert fleet.sent[0].options == {
        "timeout_s": None,
        "priority": "bulk",
        "max_attempts": None,
        "start_within_s": 600.0,
        "job": "j",
    }


def test_a_list_with_a_stream_is_one_call() -> None:
    fleet = ServedFleet(lambda sent: stream_of(b"data: 1\n\n"), lanes=2)
    ask(fleet, "/v1/completions", {"model": "gpt", "prompt": ["a", "b"], "stream": True})
    assert [call.body["prompt"] for call in fleet.sent] == [["a", "b"]]


@pytest.mark.parametrize("status", [200, 400, 500])
def test_what_the_provider_answers_as_a_whole_is_passed_on_as_a_whole(status: int) -> None:
    raw = b'{"error": {"message": "No."}}'
    answered = asked(Answer(status, raw))
    assert (answered.status, answered.body) == (status, raw)
    assert answered.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("error", "status"),
    [(DeadlineExceeded("not started"), 429), (RequestFailed("lost"), 502), (BrokerUnavailable("away"), 503)],
)
def test_what_fails_before_it_begins_has_a_status(error: Exception, status: int) -> None:
    def fail(sent: SentCall) -> Any:
        raise error

    assert ask(ServedFleet(fail), CHAT, STREAMED_BODY).status == status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestFailed("the worker was killed", code="stream_broken"), "stream_broken"),
        (FleetClosed("the fleet was closed"), "stream_broken"),
    ],
)
def test_a_stream_that_breaks_off_ends_with_an_error(error: Exception, code: str) -> None:
    stream = stream_of(b"data: 1\n\n", error)
    answered = asked(stream)
    first, last, rest = answered.body.split(b"\n\n")
    assert (answered.status, first, rest) == (200, b"data: 1", b"")
    told = json.loads(last.removeprefix(b"data: "))["error"]
    assert told == {"message": str(error), "type": "server_error", "param": None, "code": code}
    assert stream.closed.is_set()


def test_of_a_response_the_error_is_an_event_of_its_kind() -> None:
    answered = asked(
        stream_of(b"event: a\ndata: 1\n\n", RequestFailed("killed", code="stream_broken")), "/v1/responses"
    )
    assert b"\n\nevent: error\ndata: " in answered.body


def test_an_error_of_ours_in_mid_stream_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    answered = asked(stream_of(b"data: 1\n\n", ValueError("the prompt was: Hi")))
    assert b"internal_error" in answered.body
    assert b"prompt" not in answered.body
    assert "ValueError" in caplog.text
    assert "prompt" not in caplog.text
    assert not answered.body.endswith(b"[DONE]\n\n")
