"""What an answer tells of its key, beyond its request: it rests, is set aside, slows down, or loses a model."""

from __future__ import annotations

from typing import Any

import pytest

from keyfleet.config import SecretReference
from keyfleet.contract import Cost
from keyfleet.ledger import Finish, Retry
from keyfleet_workers.dispatch.delivery import HandBack
from keyfleet_workers.dispatch.key_health import ALONE_GRACE_S, ALONE_LOOK_MS, MODEL_REST_MS
from keyfleet_workers.dispatch.trouble import LIMITED_FORGIVEN
from keyfleet_workers.limiter import Settlement
from keyfleet_workers.provider import CallFailed
from keyfleet_workers.provider.verdict import DAY_LIMIT_REST_MS, CallFailure
from support.call_case import COST, CallCase, CallClock, handed_back

PROXY = SecretReference("http://proxy:8080")

NOTHING_USED = Settlement(5000, 5000, (1, COST), (-1, -COST))


@pytest.fixture
def case(clock: CallClock) -> CallCase:
    case = CallCase(clock)
    case.provider.latency_s = 0.01
    return case


def answer(case: CallCase, status: int, document: Any = None) -> Any:
    """Run the request once more, to this answer; returns what came of it."""
    case.provider.status, case.provider.error, case.provider.body = status, None, None
    case.provider.document = {"usage": {"total_tokens": COST}} if document is None else document
    return run(case)


def run(case: CallCase) -> Any:
    case.delivered.clear()
    case.grant = type(case.grant)(case.grant.quota, 5000, case.clock.now_s)
    case.run()
    return case.results()[0]


def error(code: str, message: str = "no", **more: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


def fail(case: CallCase) -> Any:
    return answer(case, 500, error("server_error"))


def test_a_few_failures_are_no_outage(case: CallCase) -> None:
    for _ in range(4):
        fail(case)
    assert case.rests == []
    assert not case.health.is_cautious(case.grant.quota)


def test_the_fifth_failure_in_a_row_pauses_the_key_and_calls_go_out_one_by_one(case: CallCase) -> None:
    for _ in range(5):
        fail(case)
    assert case.rests == [(case.scopes.failing, "cooling: server_error: no", 1000)]
    assert case.health.is_cautious(case.grant.quota)


def test_an_answer_in_between_begins_the_count_anew(case: CallCase) -> None:
    for _ in range(4):
        fail(case)
    answer(case, 200)
    for _ in range(4):
        fail(case)
    assert case.rests == []


def test_calls_that_were_under_way_together_fail_together(case: CallCase, clock: CallClock) -> None:
    for _ in range(5):
        fail(case)
    began_s = clock.now_s - 1.0
    assert case.health.trouble.note_failure(began_s) is None


def test_what_was_taken_before_a_pause_goes_back_unsent_and_makes_it_no_longer(case: CallCase) -> None:
    for _ in range(5):
        fail(case)
    case.delivered.clear()
    case.provider.sent.clear()
    case.grant = type(case.grant)(case.grant.quota, 5000, case.clock.now_s - 0.5)
    case.run()
    assert handed_back(case)
    assert case.settlements() == [NOTHING_USED]
    assert (case.provider.sent, [rest_ms for _, _, rest_ms in case.rests]) == ([], [1000])


def test_pauses_double_up_to_a_minute_and_end_with_an_answer(case: CallCase, clock: CallClock) -> None:
    for _ in range(13):
        fail(case)
        clock.now_s += 100.0
    assert [rest_ms for _, _, rest_ms in case.rests] == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]
    answer(case, 200)
    assert not case.health.is_cautious(case.grant.quota)
    for _ in range(5):
        fail(case)
    assert case.rests[-1][2] == 1000


def test_in_an_outage_a_failed_request_waits_so_that_the_next_probe_is_anothers(case: CallCase) -> None:
    for _ in range(5):
        result = fail(case)
    assert isinstance(result, Retry)
    assert result.delay_ms >= 4 * 1000


def test_a_provider_that_can_not_be_reached_pauses_the_key_for_this_host_at_once(case: CallCase) -> None:
    case.provider.error = CallFailed(CallFailure.UNREACHABLE, "the provider can't be reached", None)
    case.run()
    assert handed_back(case)
    assert [(scope, rest_ms) for scope, _, rest_ms in case.rests] == [(case.scopes.way, 1000)]


def portal(case: CallCase) -> Any:
    """Something on the way answers in the provider's place."""
    case.provider.status, case.provider.body = 200, b"<html>Please sign in</html>"
    return run(case)


def test_a_request_that_meets_a_portal_spends_nothing_and_lets_another_probe_the_way(clock: CallClock) -> None:
    case = CallCase(clock, proxy=PROXY)
    result = portal(case)
    assert isinstance(result, Retry)
    assert result.attempts == ()
    assert result.delay_ms == 2 * 1000
    assert case.settlements() == [NOTHING_USED]
    assert [scope for scope, _, _ in case.rests] == [case.scopes.way]


def test_a_portal_that_stays_never_counts_against_a_request(clock: CallClock) -> None:
    case = CallCase(clock, proxy=PROXY)
    for _ in range(20):
        assert portal(case).attempts == ()
        clock.now_s += 100.0


def test_a_request_that_alone_is_refused_on_the_way_ends_at_last(clock: CallClock) -> None:
    case = CallCase(clock, proxy=PROXY)
    results = []
    for _ in range(20):
        result = portal(case)
        results.append(result)
        if isinstance(result, Finish):
            break
        case.attempts = result.attempts
        answer(case, 200)  # others pass
    assert [len(result.attempts) for result in results[:-1]] == [0, 0, 0, 1, 2, 3, 4]
    assert results[-1].outcome.ok is False


def limited(case: CallCase) -> Any:
    return answer(case, 429, error("rate_limit_exceeded", "Slow down please"))


def test_a_limit_that_everybody_meets_never_counts_against_a_request(case: CallCase) -> None:
    for _ in range(50):
        assert limited(case) == HandBack("job:1", "token")


def test_a_request_that_alone_meets_a_limit_again_and_again_ends_at_last(case: CallCase) -> None:
    forgiven = 0
    for _ in range(100):
        result = limited(case)
        if isinstance(result, Finish):
            break
        forgiven += isinstance(result, HandBack)
        case.attempts = getattr(result, "attempts", ())
        answer(case, 200)  # others pass
    assert forgiven == LIMITED_FORGIVEN
    assert [one.message for one in result.outcome.errors] == ["Slow down please"] * 5


def test_what_azure_will_never_take_goes_to_a_key_with_a_larger_limit(clock: CallClock) -> None:
    case = CallCase(clock, provider="azure")
    message = "Requests have exceeded token rate limit of your current OpenAI S0 pricing tier. "
    message += "Please retry after 86400 seconds."
    assert answer(case, 429, error("429", message)) == HandBack("job:1", "token")
    assert [(said.unit, said.amount, said.window_s) for said in case.ceilings] == [("tokens", COST - 1, 60)]


def test_more_images_than_the_keys_limit_go_to_another_key_and_the_limit_is_learned(case: CallCase) -> None:
    case.cost_images = 4
    message = "Rate limit reached for m on input-images per min: Limit 5, Used 0, Requested 6."
    result = answer(case, 429, error("rate_limit_exceeded", message, type="input-images"))
    assert result == HandBack("job:1", "token", Cost(COST, 6))
    (said,) = case.ceilings
    assert (said.unit, said.amount, said.window_s) == ("images", 5, 60)


def test_a_request_larger_than_the_keys_limit_goes_to_another_key_and_the_limit_is_learned(case: CallCase) -> None:
    message = "Request too large for m on tokens per min (TPM): Limit 30000, Requested 31538."
    result = answer(case, 429, error("rate_limit_exceeded", message, type="tokens"))
    assert result == HandBack("job:1", "token", Cost(31_538))
    assert case.rests == []
    (said,) = case.ceilings
    assert (said.unit, said.amount, said.window_s) == ("tokens", 30_000, 60)
    assert case.attempts == ()


def test_a_model_that_the_key_lost_is_left_to_other_keys(case: CallCase) -> None:
    case.other_keys_serve = True
    result = answer(case, 404, error("model_not_found"))
    assert result == HandBack("job:1", "token")
    assert MODEL_REST_MS > 0
    assert case.rests == []


def test_a_model_that_no_other_key_serves_ends_the_request_unless_one_comes_soon(
    case: CallCase, clock: CallClock
) -> None:
    assert answer(case, 404, error("model_not_found")) == HandBack("job:1", "token")
    clock.now_s += ALONE_GRACE_S
    result = answer(case, 404, error("model_not_found"))
    assert case.left_alone_ms == [ALONE_LOOK_MS, 0]
    assert isinstance(result, Finish)
    assert result.outcome.errors[-1].code == "model_not_found"


def test_an_empty_account_is_set_aside_without_an_end(case: CallCase) -> None:
    result = answer(case, 429, error("insufficient_quota", "You exceeded your current quota"))
    assert result == HandBack("job:1", "token")
    assert case.rests == [
        (case.scopes.credit, "out_of_credit: insufficient_quota: You exceeded your current quota", None)
    ]


@pytest.mark.parametrize(
    ("code", "is_own"), [("project_spend_limit_exceeded", True), ("organization_spend_limit_exceeded", False)]
)
def test_a_project_that_has_spent_its_money_leaves_the_other_keys_of_its_group_alone(
    clock: CallClock, code: str, is_own: bool
) -> None:
    case = CallCase(clock, group="org")
    answer(case, 429, error(code, "no", type="insufficient_quota"))
    ((scope, _, rest_ms),) = case.rests
    assert (scope, rest_ms) == (case.scopes.own_credit if is_own else case.scopes.credit, None)
    assert case.scopes.own_credit != case.scopes.credit


def test_a_limit_of_a_day_lets_the_quota_rest(case: CallCase) -> None:
    message = (
        "Rate limit reached for m on requests per day (RPD): Limit 200, Used 200, Requested 1. "
        "Please try again in 7m12s."
    )
    answer(case, 429, error("rate_limit_exceeded", message, type="requests"))
    ((scope, reason, rest_ms),) = case.rests
    assert (scope, reason.partition(":")[0]) == ("quota:quota", "resting")
    assert rest_ms == pytest.approx(432_000, abs=1000)


def test_a_limit_of_a_day_that_does_not_say_until_when_rests_for_minutes(case: CallCase) -> None:
    answer(case, 429, error("rate_limit_exceeded", "Rate limit reached for m on requests per day. Limit: 200 / day."))
    ((_, reason, rest_ms),) = case.rests
    assert (reason.partition(":")[0], rest_ms) == ("resting", DAY_LIMIT_REST_MS)


def test_a_provider_that_asks_to_slow_down_slows_the_quota(case: CallCase) -> None:
    answer(case, 503, error("slow_down", "Slow down"))
    assert case.slowed == [("quota", 5000)]
    assert [scope for scope, _, _ in case.rests] == ["quota:quota"]


def test_a_request_that_was_never_sent_tells_nothing_of_its_provider(case: CallCase) -> None:
    for _ in range(4):
        fail(case)
    case.provider.error = CallFailed(CallFailure.INVALID_ENDPOINT, "url: expected a plain path", None)
    run(case)
    fail(case)
    assert [scope for scope, _, _ in case.rests] == [case.scopes.failing]
