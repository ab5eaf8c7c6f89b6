"""Limits as the messages of errors tell them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from keyfleet.config import Unit
from keyfleet_workers.provider.verdict import SaidLimit

__all__ = ["DAY_S", "said_limit", "speaks_of_a_day", "speaks_of_a_minute"]

DAY_S = 86_400

_WINDOW_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}

_INITIALS = re.compile(r"\b(?:([RT])P([SMHD])|(I)P([MD]))\b")
"""RPM, TPD, IPM and the like; IPS may be anything."""

_UNITS: Mapping[str, Unit] = {"r": "requests", "t": "tokens", "i": "images"}

_WORDS = re.compile(
    r"\b(request|token|image)s? (?:limit )?(?:per|/) ?(s|m|h|d)(?:ec|econd|in|inute|our|r|ay)?\b", re.IGNORECASE
)

_AMOUNT = re.compile(r"\b(?:limit|max (?:[RT]P[SMHD]))[: ] ?(\d[\d,]*)(?:\.\d+)?(?: */ *(s|m|h|d))?", re.IGNORECASE)
_REQUESTED = re.compile(r"\brequested[: ] ?(\d[\d,]*)", re.IGNORECASE)

_PER_WINDOW = re.compile(r"\brate limit of (\d[\d,]*) per (\d+) ?s\b", re.IGNORECASE)
"""Azure AI: `Rate limit of 50 per 86400s exceeded for UserByModelByDay`; of requests."""

_DAY = re.compile(r"\b[RTI]PD\b|\bper[ -]?day\b|/ ?day\b|\bdaily\b|\bper 86400 ?s|PerDay|ByDay\b", re.IGNORECASE)
_MINUTE = re.compile(
    r"\b(?:[RT]P[MS]|IPM)\b|\bper[ -]?(?:min(?:ute)?|s(?:ec(?:ond)?)?)\b|/ ?min|PerMinute|ByMinute\b|\bconcurren",
    re.IGNORECASE,
)


def said_limit(message: str) -> SaidLimit | None:
    """The limit that a message names, as far as it gives unit, amount and window.

    `on tokens per min (TPM): Limit 30000, Requested 31538` (OpenAI, Groq), `on requests per min. Limit: 60.000000 /
    min.` (OpenAI until 2023), `Limit: 10000 / day`, `max RPM: 3` (Moonshot), `Rate limit of 10 per 60s` (Azure AI).
    Of images: `on input-images per min: Limit 5, Used 5, Requested 1` (GPT Image models, of the images that they make
    too), `for images per minute in organization org-x. Limit: 5/1min. Current: 6/1min.` (DALL·E).
    """
    per_window = _PER_WINDOW.search(message)
    if per_window:
        return SaidLimit("requests", _number(per_window[1]), int(per_window[2]), None)
    amount = _AMOUNT.search(message)
    unit_and_window = _INITIALS.search(message) or _WORDS.search(message)
    if amount is None or unit_and_window is None:
        return None
    unit, window = (part for part in unit_and_window.groups() if part)
    window_s = _WINDOW_S[(amount[2] or window).lower()]
    requested = _REQUESTED.search(message)
    return SaidLimit(
        _UNITS[unit[0].lower()], _number(amount[1]), window_s, _number(requested[1]) if requested else None
    )


def speaks_of_a_day(text: str) -> bool:
    """Whether a refusal names a limit of a day."""
    return _DAY.search(text) is not None


def speaks_of_a_minute(text: str) -> bool:
    """Whether a refusal names a limit of a minute or less, or one of concurrency."""
    return _MINUTE.search(text) is not None


def _number(digits: str) -> int:
    return int(digits.replace(",", "")[:18])
