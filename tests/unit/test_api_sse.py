"""The last event of a stream that breaks off, as the official client reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai as official
import pytest

from keyfleet.api import error_event
from keyfleet.openai.official import HTTP

CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}],
}
DELTA = {
    "type": "response.output_text.delta",
    "delta": "Hel",
    "item_id": "i",
    "output_index": 0,
    "content_index": 0,
    "sequence_number": 1,
    "logprobs": [],
}


def client_of(text: bytes) -> official.OpenAI:
    def answer(request: Any) -> Any:
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=text)

    http_client = HTTP.Client(transport=HTTP.MockTransport(answer))
    return official.OpenAI(api_key="k", base_url="http://gateway.test/v1", http_client=http_client)


def event(document: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(document).encode() + b"\n\n"


def until_broken(stream: Iterator[Any]) -> tuple[list[Any], official.APIError]:
    read = []
    try:
        for one in stream:
            read.append(one)  # what came before the error
    except official.APIError as error:
        return read, error
    raise AssertionError("the stream ended as if whole")


def test_a_chat_that_breaks_off_is_an_error_to_the_official_client() -> None:
    text = event(CHUNK) + error_event("/v1/chat/completions", "the worker\nwas killed", code="stream_broken")
    with client_of(text) as client:
        read, error = until_broken(
            iter(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True))
        )
    assert [one.choices[0].delta.content for one in read] == ["Hel"]
    assert (error.message, error.code, error.type) == ("the worker\nwas killed", "stream_broken", "server_error")


def test_a_response_that_breaks_off_is_one_too() -> None:
    text = event(DELTA, "response.output_text.delta") + error_event("/v1/responses", "killed", code="stream_broken")
    with client_of(text) as client:
        read, error = until_broken(iter(client.responses.create(model="m", input="Hi", stream=True)))
    assert [one.delta for one in read] == ["Hel"]
    assert (error.message, error.code) == ("killed", "stream_broken")


@pytest.mark.parametrize("message", ["a\nb", "a\r\n\r\ndata: [DONE]", "caf\u00e9\u2028", "\ud800"])
@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/responses", "/v1/responses/?x=1"])
def test_whatever_it_says_it_is_one_event(message: str, endpoint: str) -> None:
    text = error_event(endpoint, message, code="c").decode("ascii")
    assert text.endswith("\n\n")
    *names, data = text[:-2].split("\n")
    assert names == (["event: error"] if "responses" in endpoint else [])
    document = json.loads(data.removeprefix("data: "))
    assert document["error"] == {"message": message, "type": "server_error", "param": None, "code": "c"}
    assert document.get("type") == ("error" if "responses" in endpoint else None)
