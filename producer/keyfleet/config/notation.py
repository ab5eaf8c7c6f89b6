"""How durations and percentages are written, on the command line, in the environment and in the keys file.

The errors say what is expected and leave out what was found, so that callers can pass them on for any field.
"""

from __future__ import annotations

import math
import re

__all__ = ["parse_duration_s", "parse_percentage"]

_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", re.IGNORECASE)
_DURATION_EXPECTED = "expected a duration above zero, such as 90s, 10m, 2h, or a number of seconds"
_PERCENTAGE_EXPECTED = "expected a percentage such as 70% or 0.7, above 0 and at most 100%"


def parse_duration_s(text: str) -> float:
    """Seconds in `90s`, `10m`, `1h30m`, `500ms`, `2d` or plain seconds (`600`, `0.5`).

    Raises ValueError, which says what is expected, for anything else and for a duration that is not above zero.
    """
    text = text.strip()
    seconds = _number(text)
    if seconds is None and re.fullmatch(rf"(?:{_DURATION_PART.pattern})+", text, re.IGNORECASE):
        parts = _DURATION_PART.findall(text)
        seconds = sum(float(count) * _SECONDS_PER_UNIT[unit.lower()] for count, unit in parts)
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(_DURATION_EXPECTED)
    return seconds


def parse_percentage(text: str) -> float:
    """The share in `70%` or `0.7`: above 0 and at most 1.

    A bare `70` is refused rather than guessed at. Raises ValueError, which says what is expected.
    """
    text = text.strip()
    share = _number(text.removesuffix("%"))
    if share is not None and text.endswith("%"):
        share /= 100
    if share is None or not 0 < share <= 1:
        raise ValueError(_PERCENTAGE_EXPECTED)
    return share


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
