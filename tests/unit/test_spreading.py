"""A call with a list is spread over several calls, and their answers are put together as one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.calls.spreading import (
    EMBEDDING_INPUTS,
    EMBEDDING_TOKENS,
    MODERATION_INPUTS,
    UNEXPECTED_ANSWER,
    Spread,
    spread,
)
from keyfleet.errors import RequestFailed

COMPLETIONS, EMBEDDINGS, MODERATIONS = "/v1/completions", "/v1/embeddings", "/v1/moderations"


def spread_of(endpoint: str, lanes: int = 3, **body: Any) -> Spread | None:
    return spread(endpoint, json.dumps({"model": "m", **body}).encode(), lambda model: lanes)


def parts_of(endpoint: str, lanes: int = 3, **body: Any) -> list[Any]:
    found = spread_of(endpoint, lanes, **body)
    assert found is not None
    return [json.loads(part) for part in found.bodies]


def test_each_prompt_of_a_list_becomes_a_call_of_its_own() -> None:
    parts = parts_of(COMPLETIONS, prompt=["a", [1, 2], "c"], n=2)
    assert parts == [{"model": "m", "prompt": prompt, "n": 2} for prompt in ("a", [1, 2], "c")]


def test_inputs_are_spread_over_as_many_parts_as_keys_serve_the_model() -> None:
    texts = [str(number) for number in range(10)]
    parts = parts_of(EMBEDDINGS, 3, input=texts, dimensions=4)
    assert [part["input"] for part in parts] == [texts[0:3], texts[3:6], texts[6:10]]
    assert all(part["dimensions"] == 4 for part in parts)


def test_the_model_tells_how_many_keys_there_are() -> None:
    body = b'{"model": "mine", "input": ["a", "b"]}'
    assert spread(EMBEDDINGS, body, lambda model: {"mine": 2}[model]) is not None
    assert spread(EMBEDDINGS, body, lambda model: {"mine": 1}[model]) is None


def test_there_are_never_more_parts_than_inputs() -> None:
    assert [part["input"] for part in parts_of(MODERATIONS, 9, input=["a", "b"])] == [["a"], ["b"]]


@pytest.mark.parametrize(("endpoint", "most"), [(EMBEDDINGS, EMBEDDING_INPUTS), (MODERATIONS, MODERATION_INPUTS)])
def test_no_part_has_more_inputs_than_the_provider_takes(endpoint: str, most: int) -> None:
    parts = parts_of(endpoint, 1, input=["x"] * (most + 1))
    assert len(parts) == 2
    assert max(len(part["input"]) for part in parts) <= most


def test_no_part_has_more_tokens_than_the_provider_takes() -> None:
    tokens = [list(range(1000, 6000)) for _ in range(2 * EMBEDDING_TOKENS // 5000)]
    parts = parts_of(EMBEDDINGS, 1, model="text-embedding-3-small", input=tokens)
    assert len(parts) == 2
    words = ["word " * 6000] * 100
    parts = parts_of(EMBEDDINGS, 1, model="text-embedding-3-small", input=words)
    assert len(parts) == 4
    assert [text for part in parts for text in part["input"]] == words


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (COMPLETIONS, {"prompt": "a"}),
        (COMPLETIONS, {"prompt": ["a"]}),
        (COMPLETIONS, {"prompt": [1, 2, 3]}),
        (COMPLETIONS, {"prompt": []}),
        (COMPLETIONS, {"prompt": ["a", 1]}),
        (COMPLETIONS, {"prompt": ["a", ["b", "c"]]}),
        (COMPLETIONS, {"prompt": [[1], [[2], [3]]]}),
        (EMBEDDINGS, {"input": [[1, 2], [3, None]]}),
        (COMPLETIONS, {}),
        (EMBEDDINGS, {"input": "a"}),
        (EMBEDDINGS, {"input": [1, 2, 3]}),
        (EMBEDDINGS, {"input": None}),
        (MODERATIONS, {"input": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        ("/v1/chat/completions", {"prompt": ["a", "b"], "messages": []}),
        ("/v1/responses", {"input": ["a", "b"]}),
    ],
)
def test_what_is_no_list_of_inputs_stays_whole(endpoint: str, body: dict[str, Any]) -> None:
    assert spread_of(endpoint, **body) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input": ["a", "b"]', b"\xff"])
def test_what_is_no_json_object_stays_whole(body: bytes) -> None:
    assert spread(EMBEDDINGS, body, lambda model: 2) is None


def test_all_but_the_list_is_cut_from_the_text_that_came() -> None:
    found = spread(EMBEDDINGS, b'{"input":["a","\\u00e9"],"odd":1e400, "x": 0.10}', lambda model: 2)
    assert found is not None
    assert found.bodies == (
        b'{"input": ["a"], "odd":1e400, "x": 0.10}',
        '{"input": ["é"], "odd":1e400, "x": 0.10}'.encode(),
    )


def test_azures_paths_and_queries_are_known() -> None:
    body = b'{"input": ["a", "b"]}'
    assert spread("/openai/deployments/d/embeddings?api-version=2024-10-21", body, lambda model: 2) is not None


def test_choices_are_numbered_through_all_prompts() -> None:
    found = spread_of(COMPLETIONS, prompt=["a", "b"], n=2)
    assert found is not None
    answers = [
        {
            "id": f"id-{part}",
            "object": "text_completion",
            "choices": [{"text": f"{part}{c}", "index": c} for c in (0, 1)],
        }
        for part in "ab"
    ]
    merged = json.loads(found.merged([json.dumps(answer).encode() for answer in answers]))
    assert merged["id"] == "id-a"
    assert [(one["index"], one["text"]) for one in merged["choices"]] == [(0, "a0"), (1, "a1"), (2, "b0"), (3, "b1")]


def test_a_token_named_index_in_log_probabilities_is_no_index() -> None:
    found = spread_of(COMPLETIONS, prompt=["a", "b"])
    choice = {"text": '"index": 0', "logprobs": {"top_logprobs": [{"index": 0}]}, "index": 0}
    assert found is not None
    merged = json.loads(found.merged([json.dumps({"choices": [choice]}).encode()] * 2))
    assert merged["choices"] == [choice, {**choice, "index": 1}]


def test_embeddings_keep_their_text_as_the_provider_wrote_it() -> None:
    found = spread_of(EMBEDDINGS, 2, input=["a", "b"])
    assert found is not None
    answer = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10,1E-5, -0]}],"model":"m"}'
    merged = found.merged([answer, answer])
    assert merged.count(b"[0.10,1E-5, -0]") == 2
    assert [one["index"] for one in json.loads(merged)["data"]] == [0, 1]


def test_items_that_came_in_another_order_are_put_in_order() -> None:
    found = Spread("embeddings", (b"", b""), (2, 1))
    first = b'{"data": [{"index": 1, "embedding": 7}, {"index": 0, "embedding": 8}]}'
    merged = json.loads(found.merged([first, b'{"data": [{"index": 0}]}']))
    assert [(one["index"], one.get("embedding")) for one in merged["data"]] == [(0, 8), (1, 7), (2, None)]


@pytest.mark.parametrize("items", ["", '{"index": 0}, {"index": 1}'])
def test_a_part_that_was_not_answered_whole_is_an_error(items: str) -> None:
    found = Spread("embeddings", (b"", b""), (1, 1))
    with pytest.raises(RequestFailed, match=r"with \d items in place of 1") as caught:
        found.merged([b'{"data": [{"index": 0}]}', f'{{"data": [{items}]}}'.encode()])
    assert caught.value.code == UNEXPECTED_ANSWER


def test_all_numbers_of_the_usage_are_added_up() -> None:
    found = Spread("completions", (b"", b"", b""), (1, 1, 1))
    usages: list[Any] = [
        {"total_tokens": 3, "details": {"cached": 1, "kind": "a"}, "cost": 0.5},
        {"total_tokens": 4, "details": {"cached": 2, "kind": "b"}, "new": 7},
        None,
    ]
    answers = [json.dumps({"choices": [{"index": 0}], "usage": usage}).encode() for usage in usages]
    assert json.loads(found.merged(answers))["usage"] == {
        "total_tokens": 7,
        "details": {"cached": 3, "kind": "a"},
        "cost": 0.5,
        "new": 7,
    }


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"no json", b"{}", b'{"data": 1}', b'{"data": [1]}', b'{"data": [{}', b"\xff"]
)
def test_an_answer_without_the_list_is_an_error(answer: bytes) -> None:
    found = Spread("embeddings", (b"", b""), (1, 1))
    with pytest.raises(RequestFailed, match="`data`") as caught:
        found.merged([b'{"data": [{"index": 0}]}', answer])
    assert caught.value.code == UNEXPECTED_ANSWER


scalars = st.none() | st.booleans() | st.integers(-10, 10**20) | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
numbers = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 1000))


@st.composite
def lists_answered(draw: st.DrawFn) -> tuple[list[Any], dict[str, Any], int]:
    """Inputs' answers, the other fields of the answer, and how many parts there are."""
    items = draw(st.lists(st.fixed_dictionaries({"embedding": values, "object": values}), min_size=2, max_size=9))
    others = draw(st.dictionaries(st.text(max_size=5).filter(lambda name: name not in ("data", "usage")), values))
    return items, others, draw(st.integers(1, 12))


@given(case=lists_answered(), usage=numbers, indent=st.sampled_from([None, 1]))
def test_the_answers_of_the_parts_together_are_the_answer_to_the_whole(
    case: tuple[list[Any], dict[str, Any], int], usage: dict[str, int], indent: int | None
) -> None:
    items, others, lanes = case
    found = spread_of(EMBEDDINGS, max(2, lanes), input=[f"text {number}" for number in range(len(items))])
    assert found is not None
    answers = []
    for body in found.bodies:
        wanted = [int(text.removeprefix("text ")) for text in json.loads(body)["input"]]
        data = [{**items[number], "index": at} for at, number in enumerate(wanted)]
        answers.append(json.dumps({**others, "data": data, "usage": usage}, indent=indent).encode())
    whole = {
        **others,
        "data": [{**item, "index": number} for number, item in enumerate(items)],
        "usage": {name: count * len(answers) for name, count in usage.items()},
    }
    assert json.loads(found.merged(answers)) == whole
