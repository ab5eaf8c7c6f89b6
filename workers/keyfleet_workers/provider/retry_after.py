"""How long a provider asks to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

from keyfleet.config import UNITS

__all__ = ["duration_ms", "reset_ms", "said_wait_ms", "wait_asked_ms"]

MAX_WAIT_ASKED_MS = 24 * 3600 * 1000
"""A longer wait is taken for a mistake of the header and cut to this (ms)."""

_EARLIEST_EPOCH_S = 1e9
"""A bare number from here on is a time since the epoch (2001), not a duration."""

_EARLIEST_EPOCH_MS = 1e12

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_SAID_PART = r"\d+(?:\.\d+)? ?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)(?![a-z]) ?"
_SAID = re.compile(
    rf"\b(?:try again|try it again|retry|retrying|wait)(?: again)?(?: in| after| for)? ((?:{_SAID_PART}){{1,4}})",
    re.IGNORECASE,
)
_SAID_PIECE = re.compile(r"(\d+(?:\.\d+)?) ?(ms|milli|s|m|h|d)", re.IGNORECASE)
_REPLENISHED = re.compile(r"\breplenished in (?:(\d{1,4})\.)?(\d{1,2}):(\d\d):(\d\d)", re.IGNORECASE)
"""Days, hours, minutes and seconds as Azure's API Management writes them: `5.03:23:11`."""

_EXHAUSTED = (
    *((f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}") for unit in UNITS),
    *(
        (f"anthropic-ratelimit-{unit}-remaining", f"anthropic-ratelimit-{unit}-reset")
        for unit in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)


_FRACTION = re.compile(r"\.(\d+)")


def duration_ms(text: str) -> int | None:
    """Milliseconds of a duration as OpenAI's reset headers write it (`6m0s`, `120ms`); None for anything else."""
    total_ms, at = 0.0, 0
    text = text.strip()
    while at < len(text):
        part = _DURATION.match(text, at)
        if part is None:
            return None
        total_ms += float(part[1]) * _UNIT_MS[part[2]]
        at = part.end()
    return round(total_ms) if at and total_ms < float("inf") else None


def reset_ms(text: str | None, now_s: float) -> int | None:
    """Milliseconds until the time that a reset header names, at least 0; None where it names none.

    A duration (OpenAI, Groq), an RFC 3339 time (Anthropic), or a number: of seconds (Azure), or since the epoch in
    seconds or milliseconds (OpenRouter).
    """
    text = (text or "").strip()
    if text.endswith(("s", "m", "h", "d")):
        return duration_ms(text)
    if ":" in text:
        moment_s = _epoch_s(text)
        return None if moment_s is None else max(0, round((moment_s - now_s) * 1000))
    try:
        number = float(text)
    except ValueError:
        return None
    if not 0 <= number < 1e15:
        return None
    if number >= _EARLIEST_EPOCH_MS:
        return max(0, round(number - now_s * 1000))
    return max(0, round((number - now_s) * 1000)) if number >= _EARLIEST_EPOCH_S else round(number * 1000)


def said_wait_ms(message: str) -> int | None:
    """The wait that a message asks for in words: `Please try again in 1m26.4s`, `Please retry after 6 seconds`."""
    replenished = _REPLENISHED.search(message)
    if replenished is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in replenished.groups())
        return min((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000, MAX_WAIT_ASKED_MS)
    found = _SAID.search(message)
    if found is None:
        return None
    total_ms = 0.0
    for number, unit in _SAID_PIECE.findall(found[1]):
        name = unit.lower()
        total_ms += float(number) * _UNIT_MS["ms" if name == "milli" else name]
    return round(min(total_ms, MAX_WAIT_ASKED_MS))


def wait_asked_ms(headers: Mapping[str, str], *, now_s: float, message: str = "") -> int | None:
    """The wait that an answer asks for, None where it asks for none.

    As OpenAI's official client has it: `retry-after-ms`, then `retry-after` in seconds or as an HTTP date. Failing
    both, what `message` says; and then the reset header of a limit of which nothing remains, which comes last because
    it tells when the whole limit is there again, long after there is room for one request. `now_s` is the wall clock
    in seconds since the epoch.
    """
    after = headers.get("retry-after")
    for wait_ms in (_number(headers.get("retry-after-ms"), 1), _number(after, 1000), _date(after, now_s)):
        if wait_ms is not None:
            return min(max(0, wait_ms), MAX_WAIT_ASKED_MS)
    said_ms = said_wait_ms(message)
    wait_ms = _exhausted_reset(headers, now_s) if said_ms is None else said_ms
    return None if wait_ms is None else min(wait_ms, MAX_WAIT_ASKED_MS)


def _number(text: str | None, unit_ms: int) -> int | None:
    try:
        value = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return round(min(value * unit_ms, MAX_WAIT_ASKED_MS)) if 0 <= value < float("inf") else None


def _date(text: str | None, now_s: float) -> int | None:
    try:
        return round((parsedate_to_datetime(text).timestamp() - now_s) * 1000) if text else None
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _epoch_s(text: str) -> float | None:
    """An RFC 3339 time. Anthropic sends up to four with every answer, most of them alike and alike for a second."""
    plain = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", text.upper()).replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(plain)  # Python 3.10 reads no Z, and a fraction of three or six digits only
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


def _exhausted_reset(headers: Mapping[str, str], now_s: float) -> int | None:
    waits = [reset_ms(headers.get(reset), now_s) for left, reset in _EXHAUSTED if headers.get(left) == "0"]
    return max((wait for wait in waits if wait is not None), default=None)
