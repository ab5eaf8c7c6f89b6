"""The wait that a provider's headers ask for."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet_workers.provider.retry_after import MAX_WAIT_ASKED_MS, duration_ms, reset_ms, said_wait_ms, wait_asked_ms

NOW_S = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({}, None),
        # https://github.com/openai/openai-python, src/openai/_base_client.py: retry-after-ms, else retry-after
        ({"retry-after-ms": "1234"}, 1234),
        ({"retry-after-ms": "12.6"}, 13),
        ({"retry-after": "3"}, 3000),
        ({"retry-after": "0.25"}, 250),
        ({"retry-after": " 2 "}, 2000),
        ({"retry-after-ms": "70", "retry-after": "9"}, 70),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9000),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9000),
        # RFC 9110, section 10.2.3: an HTTP date
        ({"retry-after": formatdate(NOW_S + 90, usegmt=True)}, 90_000),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT"}, 40_000),
        ({"retry-after": formatdate(NOW_S - 90, usegmt=True)}, 0),
        # https://platform.openai.com/docs/guides/rate-limits: x-ratelimit-* headers
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360_000),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 120),
        ({"x-ratelimit-remaining-images": "0", "x-ratelimit-reset-images": "12s"}, 12_000),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "1m2.5s",
            },
            62_500,
        ),
        ({"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9" * 400 + "s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "later"}, None),
        ({"retry-after": "1", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 1000),
        # https://docs.claude.com/en/api/rate-limits: RFC 3339
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2023-11-14T22:13:35Z",
                "anthropic-ratelimit-requests-remaining": "5",
                "anthropic-ratelimit-requests-reset": "2023-11-14T23:13:35Z",
            },
            15_000,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:00Z",
            },
            0,
        ),
        # The names that Anthropic's endpoint for OpenAI's clients uses, with its own times
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2023-11-14T22:13:35Z"},
            15_000,
        ),
    ],
)
def test_the_wait_is_read_from_the_headers(headers: dict[str, str], wait_ms: int | None) -> None:
    assert wait_asked_ms(headers, now_s=NOW_S) == wait_ms


@pytest.mark.parametrize("value", ["-5", "nan", "-nan", "inf", "-inf", "1e999", "", "  ", "soon", "0x10", "1,5"])
def test_what_is_no_wait_is_ignored(value: str) -> None:
    assert wait_asked_ms({"retry-after": value}, now_s=NOW_S) is None
    assert wait_asked_ms({"retry-after-ms": value}, now_s=NOW_S) is None


@pytest.mark.parametrize("value", ["1e15", "1e308", "9" * 300, formatdate(NOW_S + 10**9, usegmt=True)])
def test_an_absurd_wait_is_cut_to_a_day(value: str) -> None:
    assert wait_asked_ms({"retry-after": value}, now_s=NOW_S) == MAX_WAIT_ASKED_MS


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 32 Foo 2023 99:99:99 GMT",
        "Tue, 14 Nov 99999 22:14:00 GMT",
        "Tue, 14 Nov 2023 22:14:00 +9999",
        "Tue, 14 Nov 0001 00:00:00 +2359",
        "Mon, 01 Jan 0001 00:00:00 -0000",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "14 Nov",
        ",",
        "\x00",
    ],
)
def test_a_date_that_is_none_breaks_nothing(value: str) -> None:
    wait_ms = wait_asked_ms({"retry-after": value}, now_s=NOW_S)
    assert wait_ms is None or 0 <= wait_ms <= MAX_WAIT_ASKED_MS


@given(
    st.dictionaries(
        st.sampled_from(
            ("retry-after", "retry-after-ms", "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests")
        ),
        st.one_of(
            st.text(alphabet="0123456789.eE+-:,smhd GMTueNov\u0663", max_size=40),
            st.floats().map(str),
            st.just("0"),
            st.integers(0, 400).map(lambda digits: "9" * digits + "s"),
        ),
    )
)
def test_no_header_breaks_anything(headers: dict[str, str]) -> None:
    wait_ms = wait_asked_ms(headers, now_s=NOW_S)
    assert wait_ms is None or 0 <= wait_ms <= MAX_WAIT_ASKED_MS


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("6m0s", 360_000),
        ("120ms", 120),
        ("1s", 1000),
        ("1.5s", 1500),
        ("7m12.864s", 432_864),
        ("1h2m3s", 3_723_000),
        ("2d", 172_800_000),
        ("0s", 0),
        (" 1s ", 1000),
        ("", None),
        ("12", None),
        ("s", None),
        ("-1s", None),
        ("1s!", None),
        ("1 s", None),
        ("1e3s", None),
        ("2023-11-14T22:14:00Z", None),
    ],
)
def test_durations_are_read_as_openai_writes_them(text: str, expected_ms: int | None) -> None:
    assert duration_ms(text) == expected_ms


@pytest.mark.parametrize(
    ("message", "expected_ms"),
    [
        # OpenAI
        ("Limit 200, Used 200, Requested 1. Please try again in 7m12s. Visit https://x", 432_000),
        ("Please try again in 1m26.4s.", 86_400),
        ("Please try again in 644ms.", 644),
        ("Please try again in 20s.", 20_000),
        ("Please try again in 1h2m3.5s.", 3_723_500),
        # Azure
        ("of your current OpenAI S0 pricing tier. Please retry after 6 seconds. Please go here", 6000),
        ("Rate limit is exceeded. Try again in 30 seconds.", 30_000),
        ("Please wait 57829 seconds before retrying.", 57_829_000),
        # Gemini, Moonshot, others
        ("Please retry in 34.074824224s.", 34_075),
        ("please try again after 1 seconds", 1000),
        ("Retry in 2 minutes", 120_000),
        ("try again in 1 minute 30 seconds", 90_000),
        ("try again in 2 days", MAX_WAIT_ASKED_MS),
        ("try again in 250 milliseconds", 250),
        # Azure's API Management: days.hours:minutes:seconds
        ("Quota will be replenished in 01:02:03.", 3_723_000),
        ("Quota will be replenished in 5.03:23:11.", MAX_WAIT_ASKED_MS),
        # What asks for no particular wait
        ("Please try again later.", None),
        ("Please wait a moment and try again", None),
        ("Limit 10000, Requested 5", None),
        ("retry 3 times", None),
        ("try again in 5 apples", None),
        ("", None),
    ],
)
def test_a_wait_is_read_from_words(message: str, expected_ms: int | None) -> None:
    assert said_wait_ms(message) == expected_ms


def test_words_count_where_no_retry_header_does_and_before_the_reset_of_a_whole_limit() -> None:
    exhausted = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "24h0m0s"}
    message = "Please try again in 8.64s."
    assert wait_asked_ms(exhausted, now_s=NOW_S, message=message) == 8640
    assert wait_asked_ms({"retry-after": "3", **exhausted}, now_s=NOW_S, message=message) == 3000
    assert wait_asked_ms(exhausted, now_s=NOW_S, message="later") == 86_400_000


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("6m0s", 360_000),
        ("55", 55_000),
        ("0.5", 500),
        ("33011.382867097855", 33_011_383),
        ("2023-11-14T22:13:35Z", 15_000),
        ("2023-11-14T23:13:35+01:00", 15_000),
        ("2023-11-14t22:13:35.5z", 15_500),
        ("2023-11-14T22:13:35", 15_000),
        ("2023-11-14T22:13:00Z", 0),
        ("1700000015", 15_000),  # epoch, in seconds and in milliseconds
        ("1700000015000", 15_000),
        ("1600000000", 0),
        ("2023-02-31T00:00:00Z", None),
        ("-5", None),
        ("nan", None),
        ("1e400", None),
        ("soon", None),
        ("later:", None),
        ("", None),
        (None, None),
    ],
)
def test_a_reset_is_read_as_each_provider_writes_it(text: str | None, expected_ms: int | None) -> None:
    assert reset_ms(text, NOW_S) == expected_ms
