"""Which wishes to stream the stand-in refuses, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from keyfleet.sim import SimConfig, SimKey, SimServer

ENDPOINTS: dict[str, dict[str, Any]] = {
    "completions": {"prompt": "a"},
    "chat/completions": {"messages": [{"role": "user", "content": "a"}]},
    "responses": {"input": "a"},
}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimServer]:
    with SimServer(SimConfig(keys=(SimKey(name="free", api_key="sk-free"),))) as server:
        yield server


def post(sim: SimServer, endpoint: str, **fields: Any) -> requests.Response:
    body = {"model": "m", **ENDPOINTS[endpoint], **fields}
    headers = {"Authorization": "Bearer sk-free"}
    return requests.post(f"{sim.base_url}/v1/{endpoint}", json=body, headers=headers, timeout=10)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"stream": "yes"}, "stream", "Invalid type for 'stream': expected a boolean, but got a string instead."),
        ({"stream": 1}, "stream", "expected a boolean, but got an integer instead"),
        (
            {"stream_options": {}},
            "stream_options",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ),
        ({"stream": True, "stream_options": []}, "stream_options", "expected an object, but got an array instead"),
        (
            {"stream": True, "stream_options": {"usage": True}},
            "stream_options.usage",
            "Unknown parameter: 'stream_options.usage'.",
        ),
    ],
)
def test_a_wish_to_stream_that_makes_no_sense_is_refused_as_openai_does(
    sim: SimServer, endpoint: str, fields: dict[str, Any], param: str, message: str
) -> None:
    answer = post(sim, endpoint, **fields)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert (answer.json()["error"]["type"], answer.json()["error"]["param"]) == ("invalid_request_error", param)


def test_usage_is_an_option_of_chats_and_not_of_responses(sim: SimServer) -> None:
    options = {"include_usage": True}
    refused = post(sim, "responses", stream=True, stream_options=options).json()["error"]
    assert (refused["param"], refused["code"]) == ("stream_options.include_usage", "unknown_parameter")
    wrong = post(sim, "chat/completions", stream=True, stream_options={"include_usage": "yes"}).json()["error"]
    assert (wrong["param"], wrong["code"]) == ("stream_options.include_usage", "invalid_type")


def test_no_stream_is_what_false_and_null_ask_for(sim: SimServer) -> None:
    for nothing in (False, None):
        answer = post(sim, "chat/completions", stream=nothing, stream_options=None)
        assert answer.json()["object"] == "chat.completion"


def test_embeddings_are_not_streamed(sim: SimServer) -> None:
    headers = {"Authorization": "Bearer sk-free"}
    body = {"model": "m", "input": "a", "stream": True}
    answer = requests.post(f"{sim.base_url}/v1/embeddings", json=body, headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_value")
