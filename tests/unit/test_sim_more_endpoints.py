"""The stand-in's moderations and structured outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from keyfleet.sim import SimConfig, SimKey, SimServer
from keyfleet.sim.schema_answers import document_for_schema


@pytest.fixture(scope="module")
def sim() -> Iterator[SimServer]:
    with SimServer(SimConfig(keys=(SimKey(name="free", api_key="sk-free"),))) as server:
        yield server


def post(sim: SimServer, path: str, body: Any) -> Any:
    answer = requests.post(f"{sim.base_url}{path}", json=body, headers={"Authorization": "Bearer sk-free"}, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_moderation_has_a_result_for_each_input_which_tells_them_apart(sim: SimServer) -> None:
    answer = post(sim, "/v1/moderations", {"model": "m", "input": ["peace", "violence", "peace"]})
    assert [result["flagged"] for result in answer["results"]] == [False, True, False]
    assert answer["results"][0] == answer["results"][2]
    assert answer["results"][1]["categories"]["violence"] is True
    assert "usage" not in answer


def test_parts_of_one_multimodal_input_have_one_moderation_together(sim: SimServer) -> None:
    parts = [{"type": "text", "text": "violence"}, {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
    answer = post(sim, "/v1/moderations", {"model": "m", "input": parts})
    assert [result["flagged"] for result in answer["results"]] == [True]


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "right": {"type": "boolean"},
        "kind": {"enum": ["first", "second"]},
        "fixed": {"const": 7},
        "maybe": {"anyOf": [{"$ref": "#/$defs/Leaf"}, {"type": "null"}]},
        "leaves": {"type": "array", "items": {"$ref": "#/$defs/Leaf"}},
        "nothing": {"type": ["null", "string"]},
    },
    "$defs": {"Leaf": {"properties": {"text": {"type": "string"}}}},
}
FITS = {
    "name": "Hi",
    "count": 1,
    "share": 1.5,
    "right": True,
    "kind": "first",
    "fixed": 7,
    "maybe": {"text": "Hi"},
    "leaves": [{"text": "Hi"}],
    "nothing": None,
}


def test_a_chat_is_answered_in_the_schema_asked_for(sim: SimServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": form}
    content = post(sim, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
    assert json.loads(content) == FITS


def test_a_response_is_given_in_the_schema_asked_for(sim: SimServer) -> None:
    form = {"type": "json_schema", "name": "n", "schema": SCHEMA}
    answer = post(sim, "/v1/responses", {"model": "m", "input": "Hi", "text": {"format": form}})
    assert json.loads(answer["output"][0]["content"][0]["text"]) == FITS


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$defs": {"Tree": {"properties": {"child": {"$ref": "#/$defs/Tree"}}}}, "$ref": "#/$defs/Tree"}
    assert '"child": null' in document_for_schema(schema, "x")
