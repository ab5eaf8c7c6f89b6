"""What the headers of an answer tell of limits, as providers were seen to send them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from keyfleet.config import PROVIDERS, Provider
from keyfleet_workers.provider import LimitReport, limit_reports

NOW_S = 1_755_780_050.0  # 2025-08-21T12:40:50Z

DAY_S = 86_400


def openai_headers(unit: str, limit: Any, remaining: Any, reset: str) -> dict[str, str]:
    values = {"limit": str(limit), "remaining": str(remaining), "reset": reset}
    return {f"x-ratelimit-{part}-{unit}": value for part, value in values.items()}


def anthropic_headers(unit: str, limit: Any, remaining: Any, reset: str = "2025-08-21T12:40:59Z") -> dict[str, str]:
    values = {"limit": str(limit), "remaining": str(remaining), "reset": reset}
    return {f"anthropic-ratelimit-{unit}-{part}": value for part, value in values.items()}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_openais_headers_are_read_whoever_sends_them(provider: Provider) -> None:
    # https://community.openai.com/t/how-to-get-rate-limit-reset-time-for-response-api/1268905
    headers = openai_headers("requests", 5000, 4999, "12ms") | openai_headers("tokens", 160_000, 159_976, "9ms")
    assert limit_reports(provider, HTTPHeaderDict(headers), now_s=NOW_S) == (
        LimitReport("requests", 5000, 4999, 12, 60),
        LimitReport("tokens", 160_000, 159_976, 9, 60),
    )


def test_limits_of_images_are_read_beside_the_others() -> None:
    # https://github.com/openai/openai-java/pull/1039
    headers = openai_headers("images", 50, 42, "1s") | openai_headers("requests", 500, 499, "120ms")
    assert limit_reports("openai", HTTPHeaderDict(headers), now_s=NOW_S) == (
        LimitReport("requests", 500, 499, 120, 60),
        LimitReport("images", 50, 42, 1000, 60),
    )


def test_headers_are_read_whatever_the_case_of_their_names() -> None:
    headers = HTTPHeaderDict({"X-RateLimit-Limit-Requests": "60", "X-Ratelimit-Remaining-Requests": "0"})
    assert limit_reports("openai", headers, now_s=NOW_S) == (LimitReport("requests", 60, 0, None, 60),)


def test_an_answer_without_such_headers_tells_nothing() -> None:
    assert limit_reports("anthropic", {}, now_s=NOW_S) == ()
    assert limit_reports("openai", {"x-ratelimit-remaining-requests": "79"}, now_s=NOW_S) == ()


@pytest.mark.parametrize("amount", ["-1", "0", "", "many", "1.5", "\u0663", "9" * 5000])
def test_an_amount_that_is_none_is_no_limit(amount: str) -> None:
    # -1 is Azure's: https://github.com/openai/openai-dotnet/issues/838
    headers = openai_headers("tokens", amount, -1, "0") | openai_headers("requests", 5, "-1", "")
    assert limit_reports("azure", headers, now_s=NOW_S) == (LimitReport("requests", 5, None, None, 60),)


def test_azures_resets_are_seconds() -> None:
    headers = openai_headers("requests", 250, 249, "10")
    assert limit_reports("azure", headers, now_s=NOW_S) == (LimitReport("requests", 250, 249, 10_000, 60),)


def test_anthropics_own_headers_are_read() -> None:
    # https://rdrr.io/cran/tidyllm/src/tests/testthat/claude/api.anthropic.com/v1/messages-e050b5-POST.R
    headers = (
        anthropic_headers("requests", 1000, 999)
        | anthropic_headers("tokens", 96_000, 95_000)
        | anthropic_headers("input-tokens", 80_000, 79_000)
        | anthropic_headers("output-tokens", 16_000, 16_000)
    )
    assert limit_reports("anthropic", HTTPHeaderDict(headers), now_s=NOW_S) == (
        LimitReport("requests", 1000, 999, 9000, 60),
        LimitReport("tokens", 96_000, 95_000, 9000, 60),
    )
    assert limit_reports("openai", HTTPHeaderDict(headers), now_s=NOW_S) == ()


def test_of_input_and_output_alone_the_smaller_limit_is_taken_since_their_sum_would_let_too_much_input_pass() -> None:
    headers = anthropic_headers("input-tokens", 80_000, 79_000) | anthropic_headers("output-tokens", 16_000, 15_000)
    assert limit_reports("anthropic", headers, now_s=NOW_S) == (LimitReport("tokens", 16_000, 15_000, 9000, 60),)
    only_input = anthropic_headers("input-tokens", 80_000, 79_000)
    assert limit_reports("anthropic", only_input, now_s=NOW_S) == (LimitReport("tokens", 80_000, 79_000, 9000, 60),)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "window_s"),
    [
        # https://console.groq.com/docs/rate-limits: requests per day, whatever the name says
        (14_400, 14_370, "2m59.56s", DAY_S),
        # https://platform.openai.com/docs/guides/rate-limits, of a small account: 200 and 10,000 requests per day
        (200, 199, "7m12s", DAY_S),
        (10_000, 9980, "2m52.8s", DAY_S),
        (10_000, 0, "24h0m0s", DAY_S),
        (1000, 500, "11h59m", DAY_S),
        (1000, None, "12h0m0s", DAY_S),
        # An hour, refilled evenly and renewed at once
        (1000, 900, "6m0s", 3600),
        (1000, 999, "59m", DAY_S),
        (1000, 100, "59m", 3600),
        # A minute, refilled evenly or renewed at once; what may be either is taken for a minute
        (10_000, 9999, "6ms", 60),
        (500, 499, "1m0s", 60),
        (1440, 1439, "1m0s", 60),
        (500, 0, "59.9s", 60),
        (10_000, 9999, "8.64s", 60),
        (500, 500, "0s", 60),
        (500, 499, "", 60),
    ],
)
def test_the_window_is_a_minute_unless_the_reset_says_that_it_is_far_longer(
    limit: int, remaining: int | None, reset: str, window_s: int
) -> None:
    (report,) = limit_reports("compatible", openai_headers("requests", limit, remaining, reset), now_s=NOW_S)
    assert report.window_s == window_s


def test_a_limit_of_a_minute_is_never_taken_for_one_of_a_day_however_it_is_used() -> None:
    for used in range(1, 1001):
        for reset_s in range(61):
            headers = openai_headers("requests", 1000, 1000 - used, f"{reset_s}s")
            assert limit_reports("openai", headers, now_s=NOW_S)[0].window_s == 60


@given(
    provider=st.sampled_from(PROVIDERS),
    headers=st.dictionaries(
        st.sampled_from(
            [
                *openai_headers("requests", 1, 1, ""),
                *openai_headers("tokens", 1, 1, ""),
                *anthropic_headers("requests", 1, 1),
                *anthropic_headers("tokens", 1, 1),
                *anthropic_headers("input-tokens", 1, 1),
            ]
        ),
        st.one_of(
            st.text(alphabet="0123456789.-:TZsmhde+ \u0663", max_size=25),
            st.floats().map(str),
            st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
            st.integers(-1, 10**20).map(str),
        ),
    ),
)
def test_no_header_breaks_anything(provider: Provider, headers: dict[str, str]) -> None:
    for report in limit_reports(provider, headers, now_s=NOW_S):
        assert report.amount > 0
        assert report.remaining is None or report.remaining >= 0
        assert report.reset_ms is None or report.reset_ms >= 0
        assert report.window_s in (60, 3600, DAY_S)
