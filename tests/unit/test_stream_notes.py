"""What the events of a streamed answer tell of its usage, its errors and its end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet_workers.dispatch.stream_notes import StreamNotes
from keyfleet_workers.dispatch.usage import tokens_used
from keyfleet_workers.provider.stream_usage import asking_for_usage

CHAT = "/v1/chat/completions"


def event(document: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(document).encode() + b"\n\n"


def looked_at(*events: bytes, drops_usage: bool = False) -> tuple[StreamNotes, list[bool]]:
    notes = StreamNotes(drops_usage=drops_usage)
    return notes, [notes.look(one) for one in events]


def tokens(notes: StreamNotes) -> int | None:
    return tokens_used(json.loads(notes.document))


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
TEXT = event({"choices": [{"delta": {"content": "hi"}}], "usage": None})
LAST = event({"model": "m", "choices": [], "usage": USAGE})


def test_the_usage_of_the_last_chunk_is_the_answers(caplog: pytest.LogCaptureFixture) -> None:
    notes, wanted = looked_at(TEXT, LAST, b"data: [DONE]\n\n")
    assert (tokens(notes), wanted, notes.is_ended, notes.error) == (7, [True, True, True], True, None)


def test_a_chunk_of_nothing_but_usage_is_dropped_where_the_caller_did_not_ask_for_it() -> None:
    both = event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE})
    assert looked_at(TEXT, LAST, drops_usage=True)[1] == [True, False]
    assert looked_at(TEXT, both, drops_usage=True)[1] == [True, True]


def test_without_usage_none_is_told() -> None:
    assert tokens(looked_at(TEXT)[0]) is None


def test_a_response_tells_it_in_its_last_event() -> None:
    last = {"type": "response.completed", "response": {"model": "m", "error": None, "usage": {"total_tokens": 9}}}
    notes, _ = looked_at(
        event({"type": "response.created", "response": {"usage": None}}), event(last, "response.completed")
    )
    assert (tokens(notes), notes.is_ended, notes.error) == (9, True, None)


def test_anthropics_messages_tell_it_in_two_parts() -> None:
    start = {
        "type": "message_start",
        "message": {"model": "claude-4", "usage": {"input_tokens": 5, "output_tokens": 1}},
    }
    delta = {"type": "message_delta", "usage": {"output_tokens": 20}}
    notes, wanted = looked_at(event(start), event(delta), event({"type": "message_stop"}), drops_usage=True)
    assert (tokens(notes), wanted, notes.is_ended) == (25, [True, True, True], True)


@pytest.mark.parametrize(
    "bad",
    [
        event({"error": {"message": "overloaded", "type": "server_error"}}),
        event({"type": "error", "code": "server_error", "message": "overloaded"}, "error"),
        event({"error": "overloaded"}),
    ],
)
def test_an_error_in_the_midst_is_noticed_and_is_the_callers(bad: bytes) -> None:
    notes, wanted = looked_at(TEXT, bad)
    assert notes.error is not None
    assert b"overloaded" in notes.error
    assert wanted == [True, True]


def test_text_that_speaks_of_errors_and_ends_is_text() -> None:
    text = event({"choices": [{"delta": {"content": '"error": {"type": "error"} data: [DONE]x'}}]})
    notes, wanted = looked_at(text)
    assert (notes.error, wanted) == (None, [True])


def test_the_usage_is_asked_for_where_that_is_understood() -> None:
    body = b'{"model": "m", "stream": true, "seed": 1e400}'
    asked = asking_for_usage("openai", CHAT, body)
    assert asked == b'{"model": "m", "stream": true, "seed": 1e400, "stream_options": {"include_usage": true}}'
    more = b'{"stream": true, "stream_options": {"include_obfuscation": false}}'
    found = asking_for_usage("azure", "/openai/deployments/d/chat/completions?api-version=1", more)
    assert found is not None
    assert json.loads(found)["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    ("provider", "endpoint", "body"),
    [
        ("compatible", CHAT, b'{"stream": true}'),
        ("anthropic", CHAT, b'{"stream": true}'),
        ("openai", "/v1/responses", b'{"stream": true}'),
        ("openai", CHAT, b'{"stream": true, "stream_options": {"include_usage": false}}'),
        ("openai", CHAT, b'{"stream": true, "stream_options": 5}'),
        ("openai", CHAT, b"[1]"),
        ("openai", CHAT, b"{"),
    ],
)
def test_elsewhere_the_body_stays_as_it_is(provider: Any, endpoint: str, body: bytes) -> None:
    assert asking_for_usage(provider, endpoint, body) is None
