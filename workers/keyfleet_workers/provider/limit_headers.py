"""What the headers of an answer tell of a key's limits. Read for every answer, so this must cost little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keyfleet.config import UNITS, Provider, Unit
from keyfleet_workers.provider.retry_after import reset_ms

__all__ = ["LimitReport", "limit_reports"]

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86_400

LONGEST_OF_A_MINUTE_MS = 120_000
"""A limit that takes longer than this to be whole again can't be one of a minute (ms)."""

LONGEST_OF_AN_HOUR_MS = 3_660_000
"""The same for an hour, whose clocks may differ by a minute (ms)."""

HALF_A_DAY_MS = 43_200_000

_OPENAI = tuple(
    (unit, f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}") for unit in UNITS
)
_ANTHROPIC = {
    name: tuple(f"anthropic-ratelimit-{name}-{part}" for part in ("limit", "remaining", "reset"))
    for name in ("requests", "tokens", "input-tokens", "output-tokens")
}


@dataclass(frozen=True, slots=True)
class LimitReport:
    """One limit as an answer tells it: `amount` of `unit` per `window_s`, of which `remaining` are left.

    `reset_ms` is the time until all of it is left again. What the answer doesn't say is None.
    """

    unit: Unit
    amount: int
    remaining: int | None
    reset_ms: int | None
    window_s: int


def limit_reports(provider: Provider, headers: Mapping[str, str], *, now_s: float) -> tuple[LimitReport, ...]:
    """What `headers` tell, requests first. `now_s` is the wall clock in seconds since the epoch.

    OpenAI, Groq and others: https://platform.openai.com/docs/guides/rate-limits; Azure sends the same names, at times
    with -1 for what it doesn't tell. Anthropic: https://docs.claude.com/en/api/rate-limits, and OpenAI's names at its
    endpoint for OpenAI's clients. Of images OpenAI's interface description has the same three headers
    (`X-RateLimit-Limit-Images`: https://github.com/openai/openai-java/pull/1039), but not every answer has them.
    """
    if provider == "anthropic":
        reports = _of_anthropic(headers, now_s)
        if reports:
            return reports
    found = []
    for unit, limit, remaining, reset in _OPENAI:
        amount = headers.get(limit)
        if amount is not None:
            report = _report(unit, amount, headers, remaining, reset, now_s)
            if report is not None:
                found.append(report)
    return tuple(found)


def _of_anthropic(headers: Mapping[str, str], now_s: float) -> tuple[LimitReport, ...]:
    requests = _named("requests", "requests", headers, now_s)
    tokens = _named("tokens", "tokens", headers, now_s) or _narrower(headers, now_s)
    return tuple(report for report in (requests, tokens) if report is not None)


def _narrower(headers: Mapping[str, str], now_s: float) -> LimitReport | None:
    """Of the limits of input and of output the smaller one, where no limit of both is told.

    Their sum would not be safe: a request's tokens are counted as one number here, and requests that are nearly all
    prompt would stay below the sum and yet above the limit of input.
    """
    both = [_named("tokens", name, headers, now_s) for name in ("input-tokens", "output-tokens")]
    return min((one for one in both if one is not None), key=lambda one: one.amount, default=None)


def _named(unit: Unit, name: str, headers: Mapping[str, str], now_s: float) -> LimitReport | None:
    limit, remaining, reset = _ANTHROPIC[name]
    amount = headers.get(limit)
    return None if amount is None else _report(unit, amount, headers, remaining, reset, now_s)


def _report(
    unit: Unit, amount: str, headers: Mapping[str, str], remaining: str, reset: str, now_s: float
) -> LimitReport | None:
    limit = _count(amount)
    if not limit:
        return None
    left = _count(headers.get(remaining))
    until_whole_ms = reset_ms(headers.get(reset), now_s)
    return LimitReport(unit, limit, left, until_whole_ms, _window_s(limit, left, until_whole_ms))


def _count(text: str | None) -> int | None:
    """A number of requests, tokens or images; None for what is none, or none that can be (Azure's -1)."""
    return int(text) if text is not None and text.isdecimal() and text.isascii() and len(text) <= 15 else None


def _window_s(amount: int, left: int | None, until_whole_ms: int | None) -> int:
    """The window of a limit: a minute, unless the time until it is whole again says that it is far longer.

    Groq, and OpenAI for small accounts, tell requests per day under the very names that others use for a minute. A
    limit that refills evenly is whole again after window * used / amount: with 14,370 of 14,400 left after 179.6 s, so
    the window is 86,200 s. Within two minutes nothing is concluded, since of a limit that is renewed all at once any
    use leads to any time: that it is one of a day is seen a few requests later, and one of a minute is never mistaken.
    """
    if until_whole_ms is None or until_whole_ms <= LONGEST_OF_A_MINUTE_MS:
        return MINUTE_S
    used = max(1, amount - left) if left is not None else 1
    is_a_day = until_whole_ms > LONGEST_OF_AN_HOUR_MS or until_whole_ms * amount / used > HALF_A_DAY_MS
    return DAY_S if is_a_day else HOUR_S
