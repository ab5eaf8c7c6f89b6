"""Taking the answer of a shared call apart: as each request would have got it alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet_workers.dispatch.answer_parts import AnswerMisfit, parts_of, shares_of


def embeddings(*vectors: Any, **further: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 30, "total_tokens": 30}
    return {"object": "list", "data": data, "model": "m-001", "usage": usage, **further}


def apart(document: Any, weights: list[int], *, listed: str = "data", each: int = 1) -> list[Any]:
    return [json.loads(part.body) for part in parts_of(json.dumps(document).encode(), listed, each, weights)]


def test_each_embedding_becomes_an_answer_of_its_own() -> None:
    first, second = apart(embeddings([0.5, 1], [2, 3]), [1, 2])
    assert first == {**embeddings([0.5, 1]), "usage": {"prompt_tokens": 10, "total_tokens": 10}}
    assert second == {**embeddings([2, 3]), "usage": {"prompt_tokens": 20, "total_tokens": 20}}
    assert list(first) == ["object", "data", "model", "usage"]


def test_numbers_stay_as_the_provider_wrote_them() -> None:
    text = b'{"data":[{"embedding":[0.10,1e400, -0.0],"index":0},\n {"index": 1, "embedding" : [1E-7]}],"usage":null}'
    first, second = parts_of(text, "data", 1, [1, 1])
    assert first.body == b'{"data": [{"embedding": [0.10,1e400, -0.0], "index": 0}], "usage": null}'
    assert second.body == b'{"data": [{"index": 0, "embedding": [1E-7]}], "usage": null}'
    assert (first.tokens, second.tokens) == (None, None)


def test_base64_is_passed_on_as_it_came() -> None:
    first, _ = apart(embeddings("AAAA//8=", "BBBB"), [1, 1])
    assert first["data"] == [{"object": "embedding", "index": 0, "embedding": "AAAA//8="}]


def test_items_go_to_their_requests_by_their_indices() -> None:
    document = embeddings([1], [2], [3])
    document["data"].reverse()
    assert [part["data"][0]["embedding"] for part in apart(document, [1, 1, 1])] == [[1], [2], [3]]
    assert all(part["data"][0]["index"] == 0 for part in apart(document, [1, 1, 1]))


def test_items_without_indices_stand_in_order() -> None:
    parts = apart({**embeddings([1], [2]), "data": [{"embedding": [1]}, {"embedding": [2]}]}, [1, 1])
    assert [part["data"] for part in parts] == [[{"embedding": [1]}], [{"embedding": [2]}]]


def test_an_index_of_zero_may_be_left_out() -> None:
    data = [{"embedding": [2], "index": 1}, {"embedding": [1]}]
    parts = apart({**embeddings([1], [2]), "data": data}, [1, 1])
    assert [part["data"][0]["embedding"] for part in parts] == [[1], [2]]


def test_several_choices_of_each_prompt_stay_together() -> None:
    choices = [{"text": f"t{at}", "index": at, "logprobs": None, "finish_reason": "stop"} for at in range(6)]
    document = {
        "id": "cmpl-1",
        "choices": choices,
        "usage": {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15},
    }
    parts = apart(document, [1, 1, 1], listed="choices", each=2)
    assert [[(one["text"], one["index"]) for one in part["choices"]] for part in parts] == [
        [("t0", 0), ("t1", 1)],
        [("t2", 0), ("t3", 1)],
        [("t4", 0), ("t5", 1)],
    ]
    assert all(part["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5} for part in parts)
    assert {part["id"] for part in parts} == {"cmpl-1"}


def test_texts_with_brackets_quotes_and_half_pairs_are_passed_on() -> None:
    texts = ['a]}"{[', "\\", "\ud83d", "\U0001f600 ä"]
    document = {"choices": [{"text": text, "index": at} for at, text in enumerate(texts)]}
    parts = apart(document, [1] * 4, listed="choices")
    assert [part["choices"][0]["text"] for part in parts] == texts


def test_nested_further_fields_are_in_every_answer() -> None:
    parts = apart(embeddings([1], [2], extra={"a": [1, {"b": "}"}]}), [1, 1])
    assert [part["extra"] for part in parts] == [{"a": [1, {"b": "}"}]}] * 2


@pytest.mark.parametrize(
    "document",
    [
        embeddings([1]),
        embeddings([1], [2], [3]),
        {**embeddings([1], [2]), "data": [{"index": 0}, {"index": 0}]},
        {**embeddings([1], [2]), "data": [{"index": 0}, {"index": 2}]},
        {**embeddings([1], [2]), "data": [{"index": False}, {"index": 1}]},
        {**embeddings([1], [2]), "data": [{"embedding": [1]}, {"embedding": [2]}, {"embedding": [3]}]},
        {**embeddings([1], [2]), "data": [{"embedding": [1], "index": 0}, {"embedding": [2]}]},
        {**embeddings([1], [2]), "data": [[1], [2]]},
        {**embeddings([1], [2]), "data": {"0": 1}},
        {"object": "list"},
        [],
    ],
)
def test_an_answer_to_another_number_of_requests_is_told_from_one_that_fits(document: Any) -> None:
    with pytest.raises(AnswerMisfit):
        apart(document, [1, 1])


@pytest.mark.parametrize("text", [b"", b"{", b'{"data":[{"index":0},{"index":1}', b"\xff", b'{"data" 1}', b"[" * 9999])
def test_what_is_no_json_fits_nobody(text: bytes) -> None:
    with pytest.raises(AnswerMisfit):
        parts_of(text, "data", 1, [1, 1])


def test_the_tokens_of_each_are_those_of_its_own_usage() -> None:
    parts = parts_of(json.dumps(embeddings([1], [2])).encode(), "data", 1, [1, 2])
    assert [part.tokens for part in parts] == [10, 20]


@given(
    counts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    weights=st.lists(st.integers(1, 10**5), min_size=1, max_size=50),
)
def test_shares_of_usage_add_up_to_the_whole_and_are_about_in_proportion(
    counts: tuple[int, int], weights: list[int]
) -> None:
    read, written = counts
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    shares = shares_of(usage, weights)
    for name, total in usage.items():
        assert sum(share[name] for share in shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert share["total_tokens"] == share["prompt_tokens"] + share["completion_tokens"]
        assert abs(share["prompt_tokens"] - read * weight / sum(weights)) < 1


def test_details_of_usage_are_shared_out_too_and_words_are_each_ones() -> None:
    usage = {"total_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}, "tier": "x", "cost": 0.5, "ok": True}
    first, second = shares_of(usage, [1, 1])
    assert first == {
        "total_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 2},
        "tier": "x",
        "cost": 0.25,
        "ok": True,
    }
    assert second["prompt_tokens_details"] == {"cached_tokens": 1}
