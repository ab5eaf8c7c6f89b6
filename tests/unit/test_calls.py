"""One call: whatever comes of it, exactly one result, the right settlement, and a free slot."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import redis

from keyfleet.contract import AttemptError
from keyfleet.ledger import Finish, Retry
from keyfleet_workers.limiter import Settlement
from keyfleet_workers.provider import CallFailed
from keyfleet_workers.provider.verdict import CallFailure
from support.call_case import COST, SECRET, CallCase, CallClock, handed_back


@pytest.fixture
def case(clock: CallClock) -> CallCase:
    return CallCase(clock)


def test_a_success_is_delivered_with_its_record_and_needs_no_lease(case: CallCase) -> None:
    case.run()
    ((queue, finish, record),) = case.delivered
    assert isinstance(finish, Finish)
    assert (queue, finish.key, finish.token, record) == ("q", "job:1", "", case.taken.record)
    outcome = finish.outcome
    assert (outcome.ok, outcome.status, outcome.attempts, outcome.tokens) == (True, 200, 1, 30)
    assert (outcome.key_name, outcome.request_id, outcome.body) == ("one", "req-1", b'{"usage": {"total_tokens": 30}}')
    assert case.runner.totals == {"succeeded": 1}
    assert case.counts.ends == {"succeeded": 1}


def test_earlier_attempts_are_told_with_a_success(case: CallCase) -> None:
    case.attempts = (AttemptError(500, "http_500", "made up"),)
    case.run()
    (finish,) = case.results()
    assert (finish.outcome.attempts, finish.outcome.errors) == (2, case.attempts)


def test_without_usage_in_the_answer_what_was_reserved_counts(case: CallCase) -> None:
    case.provider.document = {"data": []}
    case.run()
    assert case.results()[0].outcome.tokens == COST


def test_the_body_goes_out_as_it_was_taken_under_the_jobs_timeout(case: CallCase) -> None:
    case.run()
    assert case.provider.sent == [("/v1/completions", b'{"prompt":"p"}', 600.0)]


def test_a_key_with_a_timeout_of_its_own_uses_that(clock: CallClock) -> None:
    case = CallCase(clock, timeout_s=7.0)
    case.run()
    assert case.provider.sent[0][2] == 7.0


def test_a_call_that_went_out_in_time_and_cost_no_more_needs_no_settlement(case: CallCase) -> None:
    case.run()
    assert case.settlements() == []


def test_more_tokens_than_reserved_are_charged(case: CallCase) -> None:
    case.provider.document = {"usage": {"total_tokens": 55}}
    case.run()
    assert case.settlements() == [Settlement(5000, 5000, (1, COST), (0, 15))]


def test_a_charge_moves_to_the_time_at_which_the_request_was_really_written(case: CallCase) -> None:
    case.provider.written_after_s = 0.2
    case.run()
    assert case.settlements() == [Settlement(5000, 5200, (1, COST), (0, 0))]


def test_a_request_that_queued_at_the_provider_counts_from_when_that_took_it_up(case: CallCase) -> None:
    case.provider.latency_s = 3.0
    case.provider.headers["openai-processing-ms"] = "500"
    case.run()
    assert case.settlements() == [Settlement(5000, 7500, (1, COST), (0, 0))]


def test_a_processing_time_that_makes_no_sense_is_passed_over(case: CallCase) -> None:
    case.provider.headers["openai-processing-ms"] = "soon"
    case.run()
    assert case.settlements() == []
    assert case.results()[0].outcome.ok


def test_a_key_without_limits_has_nothing_to_settle(clock: CallClock) -> None:
    case = CallCase(clock, limits=())
    case.provider.document = {"usage": {"total_tokens": 5000}}
    case.provider.written_after_s = 50.0
    case.run()
    assert case.settlements() == []
    assert case.results()[0].outcome.ok


def test_rate_limited_goes_back_unpaid_and_the_quota_rests(case: CallCase) -> None:
    case.provider.status = 429
    case.provider.headers["retry-after-ms"] = "1700"
    case.provider.document = {"error": {"code": "rate_limit_exceeded", "message": "slow"}}
    case.run()
    assert handed_back(case)
    assert case.rests == [("quota:quota", "cooling: rate_limit_exceeded: slow", 1700)]
    assert case.settlements() == []  # what the provider refused, it may have counted
    assert case.counts.ends == {"rate_limited": 1}


def test_a_refused_key_is_set_aside_and_its_request_goes_back(case: CallCase) -> None:
    case.provider.status = 401
    case.provider.document = {"error": {"code": "invalid_api_key", "message": "no"}}
    case.run()
    assert handed_back(case)
    assert case.rests == [(case.scopes.refused, "revoked: invalid_api_key: no", None)]
    assert case.counts.ends == {"revoked": 1}


def test_what_never_left_goes_back_with_its_charge(case: CallCase) -> None:
    case.provider.error = CallFailed(CallFailure.UNREACHABLE, "the provider can't be reached", None)
    case.run()
    assert handed_back(case)
    assert case.settlements() == [Settlement(5000, 5000, (1, COST), (-1, -COST))]
    ((scope, reason, _),) = case.rests
    assert (scope, reason.partition(":")[0]) == (case.scopes.way, "unreachable")


@pytest.mark.parametrize("status", [500, 503, 408, 529])
def test_an_error_of_the_providers_is_tried_again_later(case: CallCase, status: int) -> None:
    case.provider.status = status
    case.provider.document = {"error": {"message": "made up"}}
    case.run()
    (retry,) = case.results()
    assert isinstance(retry, Retry)
    assert (retry.key, retry.token) == ("job:1", "token")
    assert 500 <= retry.delay_ms <= 1000
    (attempt,) = retry.attempts
    assert (attempt.status, attempt.code, attempt.message, attempt.key_name) == (
        status,
        f"http_{status}",
        "made up",
        "one",
    )


def test_the_last_attempt_ends_in_a_final_error_with_all_before_it(case: CallCase) -> None:
    case.provider.status = 500
    case.attempts = tuple(AttemptError(500, "http_500", str(number)) for number in range(4))
    case.run()
    (finish,) = case.results()
    assert isinstance(finish, Finish)
    assert finish.token == "token"
    assert (finish.outcome.ok, finish.outcome.attempts, finish.outcome.status) == (False, 5, 500)
    assert [error.message for error in finish.outcome.errors[:4]] == ["0", "1", "2", "3"]


def test_timeouts_have_a_limit_of_their_own(case: CallCase) -> None:
    case.provider.error = CallFailed(CallFailure.TIMED_OUT, "silence", 100.0)
    case.run()
    (retry,) = case.results()
    assert isinstance(retry, Retry)
    again = CallCase(case.clock)
    again.attempts = retry.attempts
    again.provider.error = case.provider.error
    again.run()
    (finish,) = again.results()
    assert (finish.outcome.status, finish.outcome.body, finish.outcome.attempts) == (None, None, 2)


def test_a_final_error_ends_at_once_with_the_providers_document(case: CallCase) -> None:
    case.provider.status = 400
    case.provider.document = {"error": {"code": "context_length_exceeded", "message": "too long"}}
    case.run()
    (finish,) = case.results()
    assert (finish.token, finish.outcome.ok, finish.outcome.status) == ("token", False, 400)
    assert json.loads(finish.outcome.body) == case.provider.document
    assert finish.outcome.errors[0].code == "context_length_exceeded"
    assert case.delivered[0][2] == case.taken.record


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_key_that_an_error_repeats_is_shown_to_nobody(
    case: CallCase, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    case.provider.status = status
    case.provider.document = {"error": {"message": f"Incorrect API key provided: {SECRET}"}}
    case.run()
    assert SECRET not in str(case.delivered)
    assert SECRET not in str(case.rests)
    assert SECRET not in caplog.text
    assert handed_back(case) or "provided: ***" in str(case.delivered)


def test_a_request_whose_lease_was_lost_is_not_sent(case: CallCase) -> None:
    case.clock.now_s += 30.0
    case.run()
    assert case.provider.sent == []
    assert handed_back(case)
    assert case.settlements() == [Settlement(5000, 5000, (1, COST), (-1, -COST))]


def test_a_worker_that_stops_sends_nothing_more(case: CallCase) -> None:
    case.runner.stopping.set()
    case.run()
    assert case.provider.sent == []
    assert handed_back(case)


def test_a_grant_that_has_aged_is_moved_forward_before_sending(case: CallCase) -> None:
    case.clock.now_s += 2.0
    case.run()
    assert case.settled == [Settlement(5000, 7000, (1, COST), (0, 0))]
    assert len(case.provider.sent) == 1


def test_what_follows_settles_the_charge_where_it_was_moved_to(case: CallCase) -> None:
    case.clock.now_s += 2.0
    case.provider.written_after_s = 0.2
    case.run()
    assert case.settlements() == [Settlement(7000, 7200, (1, COST), (0, 0))]


def test_a_fresh_grant_costs_no_round_trip(case: CallCase) -> None:
    case.clock.now_s += 0.04
    case.run()
    assert case.settled == []


def test_a_grant_older_than_half_a_window_is_given_back_and_taken_anew(case: CallCase) -> None:
    case.clock.now_s += 5.1
    case.run()
    assert case.provider.sent == []
    assert handed_back(case)


def test_a_grant_that_can_not_be_moved_is_not_used(case: CallCase, caplog: pytest.LogCaptureFixture) -> None:
    case.storage_error = redis.ConnectionError("gone")
    case.clock.now_s += 2.0
    case.run()
    assert case.provider.sent == []
    assert handed_back(case)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_call_that_breaks_hands_its_request_back_and_tells_no_secret(
    case: CallCase, caplog: pytest.LogCaptureFixture
) -> None:
    case.provider.error = RuntimeError(f"proxy http://me:{SECRET}@h")
    case.run()
    assert handed_back(case)
    assert "RuntimeError" in caplog.text
    assert "in post" in caplog.text  # where it was
    assert SECRET not in caplog.text
    assert case.counts.ends == {"handed_back": 1}


def test_what_no_thread_will_run_is_given_back_whole(case: CallCase) -> None:
    case.begin()
    case.runner.give_back("q", case.pack, case.grant, case.counts)
    case.check_end()
    assert handed_back(case)
    assert case.settlements() == [Settlement(5000, 5000, (1, COST), (-1, -COST))]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
