"""Outputs of a model: workers keep their moving mean, and producers reserve by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.running.output_estimates import LARGEST_ESTIMATE_TOKENS, LOOK_S, OutputEstimates
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS
from keyfleet_workers.output_means import OutputMeans

if TYPE_CHECKING:
    from support.stand_in import StandIn


class Case:
    def __init__(self, stand_in: StandIn) -> None:
        self.client = stand_in.client()
        self.means = OutputMeans(self.client, declare_flags=False)
        self.now_s = 100.0
        self.estimates = OutputEstimates(self.client, lambda: self.now_s)

    def answer(self, *tokens: int, model: str = "m", name: str = "completion_tokens") -> None:
        for number in tokens:
            self.means.note(model, {"usage": {name: number}})
        self.means.flush()

    def estimate(self, model: str = "m") -> int:
        self.now_s += LOOK_S
        return self.estimates.tokens(model)


@pytest.fixture
def case(stand_in: StandIn) -> Case:
    return Case(stand_in)


def test_nothing_known_is_an_ordinary_answer(case: Case) -> None:
    assert case.estimate() == ASSUMED_OUTPUT_TOKENS


def test_the_first_output_counts_with_half_of_it_as_its_deviation(case: Case) -> None:
    case.answer(100)
    assert case.estimate() == 100 + 2 * 50


@pytest.mark.parametrize("name", ["completion_tokens", "output_tokens"])
def test_outputs_that_are_all_alike_leave_no_margin(case: Case, name: str) -> None:
    case.answer(*[80] * 200, name=name)
    assert case.estimate() == pytest.approx(80, abs=1)


def test_of_outputs_that_scatter_nearly_all_fit_the_estimate(case: Case) -> None:
    outputs = [50 + 37 * number % 100 for number in range(200)]  # even over 50 to 149
    case.answer(*outputs)
    fitting = sum(1 for output in outputs if output <= case.estimate())
    assert fitting >= 190
    assert case.estimate() < 200


def test_the_mean_follows_what_is_new(case: Case) -> None:
    case.answer(*[1000] * 100)
    case.answer(*[10] * 200)
    assert case.estimate() < 30


def test_each_model_has_its_own(case: Case) -> None:
    case.answer(*[500] * 100, model="long")
    case.answer(*[5] * 100, model="short")
    assert case.estimate("long") == pytest.approx(500, abs=5)
    assert case.estimate("short") == pytest.approx(5, abs=1)
    assert case.estimate("other") == ASSUMED_OUTPUT_TOKENS


def test_hosts_share_what_they_have_learned(case: Case) -> None:
    other = OutputMeans(case.client, declare_flags=False)
    for number in (300, 100):
        other.note("m", {"usage": {"completion_tokens": number}})
    other.flush()
    case.answer(200)
    assert 200 < case.estimate() < 600


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"usage": None}, {"usage": {"completion_tokens": "7"}}, {"usage": {"completion_tokens": 0}}],
)
def test_an_answer_without_an_output_tells_nothing(case: Case, document: Any) -> None:
    case.means.note("m", document)
    case.means.flush()
    assert case.client.exists(redis_keys.outputs()) == 0


def test_an_estimate_is_never_so_large_that_it_locks_requests_out(case: Case) -> None:
    case.answer(*[60_000] * 10)
    assert case.estimate() == LARGEST_ESTIMATE_TOKENS


@pytest.mark.parametrize("text", ["", "nan nan", "inf 1", "x", "1 2 3"])
def test_what_is_no_mean_is_passed_over(case: Case, text: str) -> None:
    case.client.hset(redis_keys.outputs(), "m", text)
    assert case.estimate() == ASSUMED_OUTPUT_TOKENS


def test_a_mean_is_read_again_only_after_a_while(case: Case) -> None:
    case.answer(*[100] * 200)
    first = case.estimate()
    case.answer(*[900] * 200)
    assert case.estimates.tokens("m") == first
    assert case.estimate() > 800


def test_without_the_server_what_was_known_holds(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.answer(*[100] * 200)
    known = case.estimate()

    def fail(*arguments: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(case.client, "hget", fail)
    assert case.estimate() == known
    assert case.estimate("other") == ASSUMED_OUTPUT_TOKENS


def test_of_several_choices_each_is_a_part_of_the_output(case: Case) -> None:
    for _ in range(200):
        case.means.note("m", {"choices": [{}] * 20, "usage": {"completion_tokens": 2000}})
    case.means.flush()
    assert case.estimate() == pytest.approx(100, abs=1)
