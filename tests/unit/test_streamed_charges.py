"""What a streamed call is charged, and what the head of its answer tells while the rest may take minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyfleet_workers.limiter import Correction, QuotaLimit, Settlement
from keyfleet_workers.provider import CallFailed
from keyfleet_workers.provider.verdict import CallFailure
from support.call_case import COST, CallCase, CallClock

if TYPE_CHECKING:
    from support.stand_in import StandIn

LIMITS = (QuotaLimit("r", "requests", 60, 60_000, 100), QuotaLimit("t", "tokens", 1000, 60_000, 100))
TOLD = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "1000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "400",
    "x-ratelimit-reset-tokens": "36s",
}


@pytest.mark.parametrize(("used", "refunds", "delta"), [(55, False, 15), (10, False, 0), (10, True, 10 - COST)])
def test_usage_settles_a_reservation_which_counts_from_when_the_provider_took_the_call_up(
    clock: CallClock, used: int, refunds: bool, delta: int
) -> None:
    case = CallCase(clock, limits=LIMITS, refunds=refunds)
    case.streams = True
    case.provider.latency_s = 3.0
    case.provider.headers["openai-processing-ms"] = "500"
    case.provider.document = {"usage": {"total_tokens": used}}
    case.run()
    assert case.settlements() == [Settlement(5000, 7500, (1, COST), (0, delta))]
    (finish,) = case.results()
    assert (finish.outcome.ok, finish.outcome.tokens) == (True, used)


@pytest.mark.parametrize("error", [None, CallFailed(CallFailure.CUT_OFF, "it broke off", 100.0)])
def test_limits_that_the_head_tells_are_known_and_charged_before_others_go_on(
    clock: CallClock, stand_in: StandIn, error: CallFailed | None
) -> None:
    case = CallCase(clock, learns_on=stand_in.client())
    case.streams = True
    case.provider.headers |= TOLD
    case.provider.error = error
    case.run()
    charged = [Settlement(None, 5000, (0, 0), (1, COST))]
    assert (case.at_beginning, case.settled) == (([], charged), charged)
    assert not case.health.is_cautious(case.binding.quota("m"))


def test_what_the_head_says_is_left_is_taken_over_at_once_and_once(clock: CallClock) -> None:
    case = CallCase(clock, limits=LIMITS, left=(59, 700), foreign=(0, 0))
    case.streams = True
    case.provider.headers |= TOLD
    case.run()
    corrected = [Correction(5000, 700, 400, 36_000)]
    assert (case.at_beginning, case.corrected, case.corrections()) == ((corrected, []), corrected, [])


def test_a_provider_that_failed_is_trusted_again_as_soon_as_a_stream_begins(clock: CallClock) -> None:
    case = CallCase(clock, limits=LIMITS)
    case.streams = True
    for _ in range(10):
        case.health.trouble.note_failure(clock.now_s, at_once=True)
    assert case.health.is_cautious(case.grant.quota)
    suspected: list[bool] = []
    case.on_begun = lambda: suspected.append(case.health.is_cautious(case.grant.quota))
    clock.now_s += 3600
    case.grant = CallCase(clock, limits=LIMITS).grant
    case.run()
    assert suspected == [False]
