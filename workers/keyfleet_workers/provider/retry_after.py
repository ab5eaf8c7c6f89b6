"""How long a provider asks to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

__all__ = ["duration_ms", "wait_asked_ms"]

MAX_WAIT_ASKED_MS = 24 * 3600 * 1000
"""A longer wait is taken for a mistake of the header and cut to this (ms)."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int | None:
    """Milliseconds of a duration as OpenAI's reset headers write it (`6m0s`, `120ms`); None for anything else."""
    parts = _DURATION.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    total_ms = sum(float(number) * _UNIT_MS[unit] for number, unit in parts)
    return round(total_ms) if total_ms < float("inf") else None


def wait_asked_ms(headers: Mapping[str, str], *, now_s: float) -> int | None:
    """The wait that an answer's headers ask for, None where they ask for none.

    As OpenAI's official client has it: `retry-after-ms`, then `retry-after` in seconds or as an HTTP date; failing
    both, the reset header of a limit of which nothing remains. `now_s` is the wall clock in seconds since the epoch.
    """
    for wait_ms in (
        _number(headers.get("retry-after-ms"), 1),
        _number(headers.get("retry-after"), 1000),
        _date(headers.get("retry-after"), now_s),
        _exhausted_reset(headers),
    ):
        if wait_ms is not None:
            return min(max(0, wait_ms), MAX_WAIT_ASKED_MS)
    return None


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


def _exhausted_reset(headers: Mapping[str, str]) -> int | None:
    waits = [
        duration_ms(headers.get(f"x-ratelimit-reset-{unit}", ""))
        for unit in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{unit}") == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)
