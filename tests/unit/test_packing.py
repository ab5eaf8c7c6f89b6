"""Which requests may share a call, told by the name that they get."""

from __future__ import annotations

from typing import Any

import pytest

from keyfleet.batch.packing import Packing

EMBEDDING = {"model": "m", "input": "one"}
COMPLETION = {"model": "m", "prompt": "one", "max_tokens": 5}
AZURE = "/openai/deployments/ours/embeddings?api-version=2024-10-21"


def name(body: dict[str, Any], endpoint: str = "/v1/embeddings", *, job: str = "job", most: int = 2048) -> str:
    return Packing(job, most).name(endpoint, body)


def most_of(pack: str) -> int:
    return int(pack.partition(":")[2] or 1)


def test_requests_that_differ_in_their_input_alone_have_one_name() -> None:
    assert name(EMBEDDING) == name({"input": "two", "model": "m"}) != ""
    assert name(COMPLETION, "/v1/completions") == name({**COMPLETION, "prompt": "two"}, "/v1/completions") != ""


@pytest.mark.parametrize(
    "other", [{"model": "n"}, {"dimensions": 256}, {"encoding_format": "base64"}, {"user": "u"}, {"input": [1, 2]}]
)
def test_requests_that_differ_in_anything_else_have_not(other: dict[str, Any]) -> None:
    pack = name({**EMBEDDING, **other})
    assert pack
    assert pack != name(EMBEDDING)


def test_requests_of_other_jobs_and_endpoints_have_names_of_their_own() -> None:
    names = {
        name(EMBEDDING),
        name(EMBEDDING, job="another"),
        name(EMBEDDING, "/v1/v2/embeddings"),
        name(EMBEDDING, AZURE),
    }
    assert len(names) == 4
    assert "" not in names


def test_lists_of_tokens_may_share_a_call_too() -> None:
    assert name({"model": "m", "input": [1, 2]}) == name({"model": "m", "input": [3]}) != ""


@pytest.mark.parametrize("given", [["a", "b"], ["a"], [[1, 2], [3]], [], [True], [1.5], None, {"text": "a"}, 7])
def test_what_is_a_list_already_or_nothing_that_can_be_listed_is_sent_alone(given: Any) -> None:
    assert name({"model": "m", "input": given}) == ""


@pytest.mark.parametrize(
    "endpoint", ["/v1/chat/completions", "/v1/responses", "/v1/moderations", "/v1/images/generations", "/v1/x"]
)
def test_other_endpoints_are_called_for_one_request_at_a_time(endpoint: str) -> None:
    assert name({**EMBEDDING, **COMPLETION}, endpoint) == ""


def test_a_body_without_an_input_is_sent_alone() -> None:
    assert name({"model": "m"}) == ""


def test_a_number_that_can_not_be_compared_keeps_a_request_alone() -> None:
    assert name({**EMBEDDING, "dimensions": float("inf")}) == ""


@pytest.mark.parametrize(("asked", "most"), [(2048, 2048), (9000, 2048), (32, 32), (2, 2)])
def test_a_call_carries_what_was_asked_for_and_the_provider_takes(asked: int, most: int) -> None:
    assert most_of(name(EMBEDDING, most=asked)) == most


def test_a_call_of_one_input_is_shared_by_nobody() -> None:
    assert name(EMBEDDING, most=1) == ""


@pytest.mark.parametrize(
    ("further", "most"),
    [({}, 20), ({"n": 4}, 5), ({"best_of": 3}, 6), ({"n": 2, "best_of": 4}, 5), ({"n": 11}, 1), ({"n": 0}, 20)],
)
def test_completions_of_one_call_are_bounded_with_all_their_choices(further: dict[str, Any], most: int) -> None:
    assert most_of(name({**COMPLETION, **further}, "/v1/completions")) == most


def test_nothing_of_an_input_or_a_parameter_is_in_the_name() -> None:
    assert name({**EMBEDDING, "user": "somebody"}).translate(str.maketrans("", "", "0123456789abcdef:")) == ""
