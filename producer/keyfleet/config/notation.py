"""How durations, percentages and amounts are written, on the command line, in the environment and in the keys file.

The errors say what is expected and leave out what was found, so that callers can pass them on for any field.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

__all__ = ["LARGEST_AMOUNT", "parse_amount", "parse_duration_s", "parse_percentage", "parse_size_bytes", "parse_yes_no"]

LARGEST_AMOUNT = 2**53 - 1
"""Numbers of Redis scripts are exact up to here."""

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})

_AMOUNT = re.compile(r"(\d[\d_]*(?:\.\d+)?)\s*([kKM]?)", re.ASCII)
_TIMES = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
_AMOUNT_EXPECTED = "expected an amount such as 500, 450k or 1.5M, of at least 1"

_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", re.IGNORECASE)
_DURATION_EXPECTED = "expected a duration above zero, such as 90s, 10m, 2h, or a number of seconds"
_SIZE = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?:(?P<prefix>[kmgt])(?P<binary>i)?)?b?", re.ASCII | re.IGNORECASE)
_SIZE_EXPECTED = "expected a size such as 100MB, 2GiB, or a number of bytes"
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


def parse_amount(text: str) -> int:
    """A whole number of at least 1: `500`, `200_000`, `450k` (450,000), `1.5M` (1,500,000).

    A small `m` is refused, since elsewhere it means minutes. Raises ValueError, which says what is expected.
    """
    match = _AMOUNT.fullmatch(text.strip())
    amount: Decimal = Decimal(match[1].replace("_", "")) * _TIMES[match[2]] if match else Decimal(0)
    if not 1 <= amount <= LARGEST_AMOUNT or amount != int(amount):
        raise ValueError(_AMOUNT_EXPECTED)
    return int(amount)


def parse_size_bytes(text: str) -> int:
    """Bytes in `100MB` and `2G` (powers of 1000), `100MiB` and `2Gi` (powers of 1024), or plain bytes; 0 is a size.

    Raises ValueError, which says what is expected.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(_SIZE_EXPECTED)
    base = 1024 if found["binary"] else 1000
    return round(float(found["count"]) * float(base ** " KMGT".index((found["prefix"] or " ").upper())))


def parse_yes_no(text: str) -> bool:
    """yes, true, on or 1; no, false, off or 0. Raises ValueError, which says what is expected."""
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("expected yes or no")
    return word in _TRUE


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
