"""Calls whose answers come in pieces, and calls that are stopped: how they end, and what they are charged."""

from __future__ import annotations

import pytest

from keyfleet.contract import CALL_STOPPED, STREAM_BROKEN, AttemptError
from keyfleet.ledger import Finish, Retry
from keyfleet_workers.provider import CallFailed
from keyfleet_workers.provider.verdict import CallFailure
from support.call_case import COST, CallCase, CallClock, handed_back


@pytest.fixture
def case(clock: CallClock) -> CallCase:
    case = CallCase(clock)
    case.streams = True
    return case


def test_a_stream_that_was_read_to_its_end_succeeds_without_a_body_of_its_own(case: CallCase) -> None:
    case.run()
    (finish,) = case.results()
    assert isinstance(finish, Finish)
    assert (finish.token, finish.outcome.ok, finish.outcome.body, finish.outcome.tokens) == ("", True, b"", 30)
    assert case.noted_outputs == [("m", {"usage": {"total_tokens": 30}})]


def test_the_usage_that_it_tells_settles_the_reservation(clock: CallClock) -> None:
    more = CallCase(clock)
    more.streams = True
    more.provider.document = {"usage": {"total_tokens": COST + 25}}
    more.run()
    assert [one.deltas for one in more.settlements()] == [(0, 25)]


@pytest.mark.parametrize("failure", [CallFailure.CUT_OFF, CallFailure.TIMED_OUT])
def test_one_that_breaks_off_fails_for_good(case: CallCase, failure: CallFailure) -> None:
    case.provider.error = CallFailed(failure, "it broke", case.clock.now_s)
    case.run()
    (finish,) = case.results()
    assert isinstance(finish, Finish)
    assert (finish.token, finish.outcome.ok, finish.outcome.status) == ("token", False, None)
    assert [error.code for error in finish.outcome.errors] == [STREAM_BROKEN]
    assert finish.outcome.errors[0].message == "the answer broke off: it broke"


def test_an_error_in_its_midst_fails_it_for_good_and_is_the_keys_all_the_same(case: CallCase) -> None:
    case.provider.document = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
    case.run()
    (finish,) = case.results()
    assert isinstance(finish, Finish)
    assert (finish.outcome.ok, finish.outcome.errors[-1].code) == (False, STREAM_BROKEN)
    assert case.rests


@pytest.mark.parametrize(("status", "kind"), [(500, Retry), (400, Finish)])
def test_what_fails_before_it_begins_ends_like_any_call(case: CallCase, status: int, kind: type) -> None:
    case.provider.status = status
    case.provider.document = {"error": {"message": "no"}}
    case.run()
    assert isinstance(case.results()[0], kind)


def test_one_that_is_rate_limited_before_it_begins_goes_back_unpaid(case: CallCase) -> None:
    case.provider.status = 429
    case.provider.document = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
    case.run()
    assert handed_back(case)


def stop_in_the_call(case: CallCase, error: Exception | None) -> None:
    """Run a call that somebody stops while it is under way."""
    post = case.provider.post

    def stopped(*arguments: object, **named: object) -> object:
        assert case.runner.in_flight.stop("q", case.taken.key)
        case.provider.error = error
        return post(*arguments, **named)  # type: ignore[arg-type]

    case.provider.post = stopped  # type: ignore[assignment,method-assign]
    case.run()


def test_a_call_that_is_stopped_ends_and_is_held_against_nobody(case: CallCase) -> None:
    case.streams = False
    case.attempts = (AttemptError(500, "http_500", "made up"),)
    stop_in_the_call(case, CallFailed(CallFailure.CUT_OFF, "lost", case.clock.now_s))
    (finish,) = case.results()
    assert isinstance(finish, Finish)
    assert (finish.token, finish.outcome.errors[-1].code, finish.outcome.attempts) == ("token", CALL_STOPPED, 2)
    assert case.rests == []
    assert case.counts.ends == {"stopped": 1}
    assert case.settlements() == []  # what was reserved stands: it was sent


def test_one_that_was_stopped_before_it_was_sent_is_refunded(case: CallCase) -> None:
    case.streams = False
    stop_in_the_call(case, CallFailed(CallFailure.UNREACHABLE, "stopped", None))
    assert [one.deltas for one in case.settlements()] == [(-1, -COST)]


def test_an_answer_that_comes_all_the_same_is_kept(case: CallCase) -> None:
    case.streams = False
    stop_in_the_call(case, None)
    (finish,) = case.results()
    assert finish.outcome.ok


def test_once_a_call_is_over_there_is_nothing_to_stop(case: CallCase) -> None:
    case.run()
    assert not case.runner.in_flight.stop("q", case.taken.key)
