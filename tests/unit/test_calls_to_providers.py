"""One call, as far as it depends on whose the key is: names of models, paths, and what an error repeats."""

from __future__ import annotations

import json
import logging

import pytest

from keyfleet.config import ModelLimits, ModelSettings
from keyfleet.ledger import Finish
from keyfleet_workers.limiter import Settlement
from keyfleet_workers.provider import CallFailed
from keyfleet_workers.provider.verdict import CallFailure
from support.call_case import COST, SECRET, CallCase, CallClock, handed_back


def test_a_model_is_asked_for_by_its_name_at_the_provider(clock: CallClock) -> None:
    case = CallCase(
        clock, models={"m": ModelSettings(ModelLimits(), alias="their-m"), "n": ModelSettings(ModelLimits())}
    )
    case.run()
    assert case.provider.models == ["their-m"]
    plain = CallCase(clock)
    plain.run()
    assert plain.provider.models == [None]


def test_a_request_that_names_another_host_ends_at_once_and_spends_nothing(clock: CallClock) -> None:
    case = CallCase(clock)
    message = "url: expected a plain path such as /v1/chat/completions"
    case.provider.error = CallFailed(CallFailure.INVALID_ENDPOINT, message, None)
    case.run()
    (finish,) = case.results()
    assert isinstance(finish, Finish)
    assert (finish.outcome.ok, finish.outcome.status) == (False, None)
    (error,) = finish.outcome.errors
    assert (error.code, error.message) == ("invalid_endpoint", message)
    assert case.settlements() == [Settlement(5000, 5000, (1, COST), (-1, -COST))]
    assert case.rests == []


def test_an_error_of_the_providers_that_has_the_same_name_was_charged(clock: CallClock) -> None:
    case = CallCase(clock)
    case.provider.status = 400
    case.provider.document = {"error": {"code": "invalid_endpoint", "message": "no"}}
    case.run()
    assert case.settlements() == []


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 429, 500])
def test_a_key_that_an_answer_repeats_is_shown_to_nobody_whatever_the_status(
    clock: CallClock, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    case = CallCase(clock)
    case.provider.status = status
    case.provider.document = {"error": {"code": f"no-{SECRET}", "type": SECRET, "message": f"Your key {SECRET}"}}
    with caplog.at_level(logging.DEBUG):
        case.run()
    assert handed_back(case) or len(case.results()) == 1
    assert SECRET not in repr(case.delivered)
    assert SECRET not in repr(case.rests)
    assert SECRET not in caplog.text


def test_a_good_answer_is_delivered_as_it_came_but_for_a_whole_key(clock: CallClock) -> None:
    case = CallCase(clock)
    case.provider.document = {"choices": [{"text": f"{SECRET} or {SECRET[:-1]}"}]}
    case.run()
    assert json.loads(case.results()[0].outcome.body) == {"choices": [{"text": f"*** or {SECRET[:-1]}"}]}
