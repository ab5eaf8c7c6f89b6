"""What calls are charged: refunds where the provider refunds, limits learned late, and corrections by its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet.config import REFUNDS, ModelLimits, ModelSettings, Provider, parse_limits
from keyfleet_workers.dispatch.delivery import Settle
from keyfleet_workers.limiter import Correction, QuotaLimit, Settlement
from support.call_case import COST, LIMITS, CallCase, CallClock

if TYPE_CHECKING:
    from support.stand_in import StandIn

MINUTE_LIMITS = (QuotaLimit("r", "requests", 60, 60_000, 100), QuotaLimit("t", "tokens", 1000, 60_000, 100))


def headers(**left: str) -> dict[str, str]:
    """OpenAI's, of a limit of 60 requests and 1,000 tokens a minute."""
    return {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-limit-tokens": "1000",
        **{f"x-ratelimit-{name.replace('_', '-')}": value for name, value in left.items()},
    }


def test_where_the_maximum_is_charged_at_admission_nothing_is_given_back(clock: CallClock) -> None:
    case = CallCase(clock)
    case.provider.document = {"usage": {"total_tokens": 1}}
    case.run()
    assert case.settlements() == []


@pytest.mark.parametrize("provider", ["openai", "azure", "anthropic", "compatible"])
@pytest.mark.parametrize("refunds", [None, True, False])
def test_what_was_not_used_is_given_back_as_the_provider_does_or_the_key_says(
    clock: CallClock, provider: Provider, refunds: bool | None
) -> None:
    case = CallCase(clock, provider=provider, refunds=refunds)
    case.provider.document = {"usage": {"total_tokens": 10}}
    case.run()
    is_refunded = REFUNDS[provider] if refunds is None else refunds
    assert case.settlements() == ([Settlement(5000, 5000, (1, COST), (0, 10 - COST))] if is_refunded else [])


@pytest.mark.parametrize(("written", "delta_tokens"), [(2, 12 - COST), (60, 70 - COST)])
def test_a_call_of_anthropics_own_interface_is_settled_too(clock: CallClock, written: int, delta_tokens: int) -> None:
    case = CallCase(clock, provider="anthropic")
    usage = {"input_tokens": 7, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 900}
    case.provider.document = {"content": [], "usage": {**usage, "output_tokens": written}}
    case.run()
    assert case.settlements() == [Settlement(5000, 5000, (1, COST), (0, delta_tokens))]


def test_a_call_is_charged_to_limits_that_its_own_answer_has_told(clock: CallClock, stand_in: StandIn) -> None:
    case = CallCase(clock, learns_on=stand_in.client())
    case.provider.headers |= headers(remaining_requests="59", remaining_tokens="900")
    case.run()
    assert case.settled == [Settlement(None, 5000, (0, 0), (1, COST))]
    found = [(limit.unit, limit.amount, limit.window_ms) for limit in case.binding.quota("m").limits]
    assert found == [("requests", 60, 60_000), ("tokens", 1000, 60_000)]


def test_what_can_not_be_charged_at_once_is_charged_as_soon_as_the_broker_answers(
    clock: CallClock, stand_in: StandIn
) -> None:
    case = CallCase(clock, learns_on=stand_in.client())
    case.provider.headers |= headers(remaining_requests="59", remaining_tokens="900")
    case.storage_error = redis.ConnectionError("gone")
    case.run()
    (settle,) = [result for _, result, _ in case.delivered if isinstance(result, Settle)]
    assert [limit.unit for limit in settle.limits] == ["requests", "tokens"]
    assert settle.settlement == Settlement(None, 5000, (0, 0), (1, COST))


def test_less_left_at_the_provider_than_here_is_taken_over(clock: CallClock) -> None:
    case = CallCase(clock, limits=MINUTE_LIMITS, left=(50, 700), foreign=(0, 0))
    case.provider.headers |= headers(
        remaining_requests="50", reset_requests="10s", remaining_tokens="650", reset_tokens="21s"
    )
    case.run()
    assert case.corrections() == [Correction(5000, 700, 650, 21_000)]
    assert case.corrected == []


def test_much_less_left_there_is_taken_over_before_anything_else_is_granted(clock: CallClock) -> None:
    case = CallCase(clock, limits=MINUTE_LIMITS, left=(50, 700), foreign=(0, 0))
    case.provider.headers |= headers(remaining_requests="50", remaining_tokens="400", reset_tokens="36s")
    case.run()
    assert case.corrected == [Correction(5000, 700, 400, 36_000)]
    assert case.corrections() == []


def test_what_can_not_be_taken_over_at_once_is_as_soon_as_the_broker_answers(clock: CallClock) -> None:
    case = CallCase(clock, limits=MINUTE_LIMITS, left=(50, 700), foreign=(0, 0))
    case.provider.headers |= headers(remaining_requests="50", remaining_tokens="400")
    case.storage_error = redis.ConnectionError("gone")
    case.run()
    assert case.corrections() == [Correction(5000, 700, 400, None)]


def test_as_much_left_as_here_says_nothing_new(clock: CallClock) -> None:
    case = CallCase(clock, limits=MINUTE_LIMITS, left=(50, 700), foreign=(0, 0))
    case.provider.headers |= headers(remaining_requests="50", remaining_tokens="900")
    case.run()
    assert case.corrections() == []


def test_where_others_used_the_account_every_answer_tells_whether_they_still_do(clock: CallClock) -> None:
    case = CallCase(clock, limits=MINUTE_LIMITS, left=(50, 700), foreign=(0, 300))
    case.provider.headers |= headers(remaining_requests="50", remaining_tokens="700")
    case.run()
    assert case.corrections() == [Correction(5000, 700, 700, None)]


def test_of_several_limits_of_a_unit_the_one_of_the_reports_window_is_meant(clock: CallClock) -> None:
    limits = (
        QuotaLimit("s", "requests", 10, 1_000, 100),
        QuotaLimit("m", "requests", 60, 60_000, 100),
        QuotaLimit("d", "requests", 1000, 86_400_000, 100),
    )
    case = CallCase(clock, limits=limits, left=(9, 59, 900), foreign=(0, 0, 0))
    case.provider.headers |= {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "55"}
    case.run()
    assert case.corrections() == [Correction(5000, 59, 55, None)]


def test_what_is_said_of_another_window_holds_no_longer_than_that(clock: CallClock) -> None:
    limits = (QuotaLimit("d", "requests", 10_000, 86_400_000, 100),)
    case = CallCase(clock, limits=limits, left=(50,), foreign=(0,))
    case.provider.headers |= {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "20"}
    case.run()
    assert case.corrections() == [Correction(5000, 50, 20, 60_000)]


def test_an_answer_without_headers_corrects_nothing(clock: CallClock) -> None:
    case = CallCase(clock, limits=LIMITS, left=(1, 1), foreign=(5, 5))
    case.run()
    assert case.corrections() == []


def test_configured_limits_are_not_replaced_by_what_headers_tell(clock: CallClock, stand_in: StandIn) -> None:
    limits = ModelLimits(parse_limits(["30/minute"]), parse_limits(["500/minute"]))
    case = CallCase(clock, learns_on=stand_in.client(), models={"m": ModelSettings(limits)})
    case.provider.headers |= headers(remaining_requests="59", remaining_tokens="900")
    case.run()
    found = {(limit.unit, limit.amount) for limit in case.binding.quota("m").limits}
    assert found == {("requests", 30), ("tokens", 500)}


IMAGE_LIMITS = (*MINUTE_LIMITS, QuotaLimit("i", "images", 20, 60_000, 100))


def test_images_are_charged_as_they_were_reserved_whatever_the_answers_tokens(clock: CallClock) -> None:
    case = CallCase(clock, limits=IMAGE_LIMITS, provider="compatible", refunds=True)
    case.cost_images = 3
    case.provider.document = {"data": [{}], "usage": {"total_tokens": 10}}
    case.run()
    assert case.settlements() == [Settlement(5000, 5000, (1, COST, 3), (0, 10 - COST, 0))]


def test_the_images_of_a_call_that_was_never_sent_are_given_back(clock: CallClock) -> None:
    case = CallCase(clock, limits=IMAGE_LIMITS)
    case.cost_images = 3
    case.runner.stopping.set()
    case.run()
    assert case.settlements() == [Settlement(5000, 5000, (1, COST, 3), (-1, -COST, -3))]


def test_fewer_images_left_at_the_provider_than_here_are_taken_over(clock: CallClock) -> None:
    case = CallCase(clock, limits=IMAGE_LIMITS, left=(50, 700, 15), foreign=(0, 0, 0))
    case.provider.headers |= {"x-ratelimit-limit-images": "20", "x-ratelimit-remaining-images": "14"}
    case.run()
    assert case.corrections() == [Correction(5000, 15, 14, None)]
