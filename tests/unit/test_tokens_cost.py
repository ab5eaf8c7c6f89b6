"""The cost of a request: prompt plus allowed output, for every endpoint and for shapes that nobody meant."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS, TextCounter, count_request_tokens, counter_for
from keyfleet.tokens.content import UNSEEN_FILE_TOKENS
from keyfleet.tokens.cost import MAX_COST_TOKENS
from keyfleet.tokens.encodings import Encoding, EncodingLoader

CHAT = "/v1/chat/completions"


class Words:
    """A stand-in encoding, one token for each word; notes the longest text it was given."""

    longest_chars = 0

    def encode_ordinary(self, text: str) -> list[int]:
        self.longest_chars = max(self.longest_chars, len(text))
        return [0] * len(text.split())


def counter_of(encoding: Encoding, model: str = "gpt-4o") -> TextCounter:
    return counter_for(model, loader=EncodingLoader(build=lambda _: encoding, is_cached=lambda _: True))


COUNTER = counter_of(Words())


def cost(endpoint: str, body: dict[str, Any], *, counter: TextCounter = COUNTER) -> int:
    return count_request_tokens(endpoint, body, counter=counter, assumed_output_tokens=1_000)


def user(content: Any) -> dict[str, Any]:
    """A chat of one message whose answer costs nothing."""
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 0}


FRAME_TOKENS = 3 + 1 + 3  # a message, its role, the primer of the reply


def picture_url(width: int, height: int, *, padding_bytes: int = 0) -> str:
    data = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + bytes(20 + padding_bytes)
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"prompt": "one two three"}, 3 + 16),
        ({"prompt": "one two", "max_tokens": 10}, 12),
        ({"prompt": "one two", "max_tokens": None}, 18),
        ({"prompt": "one", "max_tokens": 10, "n": 2, "best_of": 5}, 51),
        ({"prompt": ["one two", "three"], "max_tokens": 10}, 3 + 20),
        ({"prompt": [1, 2, 3, 4], "max_tokens": 10}, 14),
        ({"prompt": [[1, 2], [3, 4, 5]], "max_tokens": 10, "n": 2}, 5 + 40),
        ({"prompt": "one", "suffix": "two three", "max_tokens": 0}, 3),
        ({"prompt": [], "max_tokens": 7}, 7),
        ({}, 16),
    ],
)
def test_a_completion_costs_its_prompts_and_their_answers(body: dict[str, Any], tokens: int) -> None:
    assert cost("/v1/completions", body) == tokens


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (user("one two"), FRAME_TOKENS + 2),
        (user(None), FRAME_TOKENS),
        (user([{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]), FRAME_TOKENS + 3),
        ({"messages": [{"role": "user", "name": "ann", "content": "one"}], "max_tokens": 0}, FRAME_TOKENS + 3),
        ({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "max_tokens": 0}, 13),
        ({"messages": [], "max_tokens": 5}, 8),
    ],
)
def test_a_chat_costs_its_messages_and_their_frames(body: dict[str, Any], tokens: int) -> None:
    assert cost(CHAT, body) == tokens


@pytest.mark.parametrize(
    ("limits", "output_tokens"),
    [
        ({}, 1_000),
        ({"n": 3}, 3_000),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 60}, 60),
        ({"max_tokens": 70, "max_completion_tokens": 60, "n": 2}, 140),
        ({"max_tokens": None, "max_completion_tokens": 60}, 60),
        ({"max_tokens": -5}, 1_000),
        ({"max_tokens": "50"}, 1_000),
        ({"max_tokens": True}, 1_000),
        ({"max_tokens": float("nan")}, 1_000),
        ({"max_tokens": float("inf")}, 1_000),
        ({"max_tokens": 12.0}, 12),
        ({"max_tokens": 10, "n": -4}, 10),
        ({"max_tokens": 10, "n": 0}, 10),
    ],
)
def test_the_allowed_output_is_the_largest_maximum_for_every_choice(limits: dict[str, Any], output_tokens: int) -> None:
    assert cost(CHAT, {"messages": [], **limits}) == 3 + output_tokens


def test_without_a_maximum_the_named_constant_is_assumed() -> None:
    assert count_request_tokens(CHAT, {"messages": []}, counter=COUNTER) == 3 + ASSUMED_OUTPUT_TOKENS


@pytest.mark.parametrize("maximum", [10**30, 1e300, MAX_COST_TOKENS])
def test_an_absurd_maximum_is_held_to_a_number_that_can_be_stored(maximum: float) -> None:
    assert cost(CHAT, {"messages": [], "max_tokens": maximum, "n": 10**20}) == MAX_COST_TOKENS


@pytest.mark.parametrize("field", ["tools", "functions"])
def test_tools_cost_their_json_text(field: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "description": "tells how it will be", "x": [1, None]}}
    bare = cost(CHAT, user("one"))
    assert cost(CHAT, {**user("one"), field: [tool]}) >= bare + 10


def test_a_response_schema_and_tool_calls_cost_their_json_text() -> None:
    schema = {"type": "json_schema", "json_schema": {"description": "a b c d e f g h"}}
    assert cost(CHAT, {**user("one"), "response_format": schema}) >= cost(CHAT, user("one")) + 8
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "function": {"arguments": "a b c d"}}]}
    assert cost(CHAT, {"messages": [call], "max_tokens": 0}) >= FRAME_TOKENS + 4


def image(url: str, detail: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (image(picture_url(1024, 1024)), 765),
        (image(picture_url(1024, 1024), "low"), 85),
        (image("https://example.org/a.png"), 85 + 8 * 170),
        ({"type": "image_url", "image_url": picture_url(512, 512)}, 255),
        ({"type": "input_image", "image_url": picture_url(512, 512), "detail": "high"}, 255),
        ({"type": "input_image", "file_id": "file-1"}, 85 + 8 * 170),
        ({"type": "image", "source": {"type": "base64", "data": picture_url(512, 512)[22:]}}, 255),
    ],
)
def test_an_image_costs_what_its_size_does(part: dict[str, Any], tokens: int) -> None:
    assert cost(CHAT, user([part])) == FRAME_TOKENS + tokens


def test_the_rule_is_that_of_the_bodys_model_or_else_of_the_counters() -> None:
    body = user([image(picture_url(32, 32))])
    assert cost(CHAT, {**body, "model": "gpt-4o-mini"}) == FRAME_TOKENS + 2833 + 5667
    assert cost(CHAT, body, counter=counter_of(Words(), "o1")) == FRAME_TOKENS + 225


BIG = base64.b64encode(bytes(3_000_000)).decode()


@pytest.mark.parametrize(
    "part",
    [
        image(picture_url(1024, 1024, padding_bytes=3_000_000)),
        {"type": "input_audio", "input_audio": {"data": BIG, "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + BIG}},
        {"type": "input_file", "file_data": BIG, "filename": "a.pdf"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BIG}},
        {"type": "computer_screenshot", "output": {"image_url": picture_url(1024, 1024, padding_bytes=3_000_000)}},
    ],
    ids=lambda part: str(part["type"]),
)
def test_base64_is_never_counted_as_text(part: dict[str, Any]) -> None:
    encoding = Words()
    tokens = cost(CHAT, user([part]), counter=counter_of(encoding))
    assert encoding.longest_chars < 500
    assert FRAME_TOKENS + 700 < tokens < len(BIG) / 4


def test_sound_costs_one_token_for_a_tenth_of_a_second() -> None:
    second_of_wav = base64.b64encode(bytes(16_000)).decode()
    part = {"type": "input_audio", "input_audio": {"data": second_of_wav, "format": "wav"}}
    assert cost(CHAT, user([part])) == FRAME_TOKENS + 11


def test_a_file_that_the_provider_holds_has_an_assumed_cost() -> None:
    assert cost(CHAT, user([{"type": "file", "file": {"file_id": "file-1"}}])) == FRAME_TOKENS + UNSEEN_FILE_TOKENS


@pytest.mark.parametrize(
    ("given", "tokens"), [("one two", 2), (["one two", "three"], 3), ([1, 2, 3], 3), ([[1], [2, 3]], 3), ("", 1)]
)
@pytest.mark.parametrize("endpoint", ["/v1/embeddings", "/v1/moderations"])
def test_embeddings_and_moderations_cost_their_input_alone(endpoint: str, given: Any, tokens: int) -> None:
    assert cost(endpoint, {"input": given, "max_tokens": 99}) == tokens


def test_a_moderated_image_costs_as_an_image() -> None:
    assert cost("/v1/moderations", {"input": [image(picture_url(1024, 1024))]}) == 765


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"input": "one two", "max_output_tokens": 50}, 3 + 3 + 2 + 50),
        ({"input": "one"}, 3 + 3 + 1 + 1_000),
        ({"input": "one", "instructions": "be brief", "max_output_tokens": 0}, 3 + 3 + 1 + 3 + 2),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "one"}]}], "max_output_tokens": 0}, 8),
        ({"prompt": {"id": "p"}, "max_output_tokens": 9}, 3 + 2 + 9),
    ],
)
def test_a_response_costs_its_input_items_and_instructions(body: dict[str, Any], tokens: int) -> None:
    assert cost("/v1/responses", body) == tokens


@pytest.mark.parametrize(
    "endpoint",
    [
        "chat/completions",
        "/v1/chat/completions/",
        "/openai/deployments/x/chat/completions?api-version=2024-10-21",
        "https://example.openai.azure.com/openai/deployments/x/chat/completions?api-version=1",
        "/v1/messages",
    ],
)
def test_an_endpoint_is_told_by_the_end_of_its_path(endpoint: str) -> None:
    assert cost(endpoint, {**user("one two"), "max_tokens": 5}) == FRAME_TOKENS + 2 + 5


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"model": "m", "query": "one two", "documents": ["three four", "five"]}, 7),
        ({"model": "m", "query": "one", "max_tokens": 40, "n": 2}, 84),
        ({}, 1),
        ({"model": "m", "messages": [{"role": "user", "content": "one"}]}, FRAME_TOKENS + 1 + 1_000),
    ],
)
def test_an_unknown_endpoint_costs_its_json_and_the_output_it_names(body: dict[str, Any], tokens: int) -> None:
    assert cost("/v1/rerank", body) == tokens


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(("type", "text", "url", "data", "content", "image_url", "file")), inner)
    ),
    max_leaves=12,
)
FIELDS = (
    "model",
    "messages",
    "prompt",
    "input",
    "max_tokens",
    "n",
    "best_of",
    "tools",
    "instructions",
    "text",
    "suffix",
)
ENDPOINTS = (
    "/v1/completions",
    CHAT,
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
    "/v1/messages",
    "/x",
    "",
    "[",
)


@given(body=st.dictionaries(st.sampled_from(FIELDS), JSON), endpoint=st.sampled_from(ENDPOINTS))
def test_no_shape_of_a_body_raises_or_costs_less_than_one(body: dict[str, Any], endpoint: str) -> None:
    assert 1 <= cost(endpoint, body) <= MAX_COST_TOKENS


def test_an_endpoint_that_is_no_address_at_all_is_an_unknown_one() -> None:
    assert cost("http://[", {"q": "one"}) == 2


def test_no_depth_of_a_body_raises() -> None:
    deep: Any = "end"
    for _ in range(100_000):
        deep = {"a": [deep]}
    assert cost("/v1/rerank", {"q": deep}) > 100_000
    while isinstance(deep, dict):  # taken apart by hand: freeing it at once is a deep recursion of its own
        deep = deep.pop("a").pop()


def test_odd_numbers_cost_a_bounded_text() -> None:
    encoding = Words()
    cost("/v1/rerank", {"q": [10**5_000, -(10**5_000), float("nan")]}, counter=counter_of(encoding))
    assert encoding.longest_chars < 500
