"""The limits of a model, in the notation of the `limits` library, and the patterns that tell which model is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Literal, get_args

from limits import RateLimitItem, RateLimitItemPerMinute, parse_many

from keyfleet.config.notation import LARGEST_AMOUNT, parse_amount

__all__ = [
    "UNITS",
    "ModelLimits",
    "Unit",
    "best_pattern",
    "is_pattern",
    "parse_limits",
    "scaled_amount",
    "with_minute_limit",
]

Unit = Literal["requests", "tokens", "images"]
"""What a limit counts; the fields of `ModelLimits` bear the same names."""

UNITS: tuple[Unit, ...] = get_args(Unit)

MINUTE_S = 60

_SHORT_AMOUNT = re.compile(r"\d[\d_]*(?:\.\d+)?\s*[kKM](?=\s*(?:/|per\b))", re.ASCII)
_WILDCARD = re.compile(r"[*?\[]")
_LIMIT_EXPECTED = "expected a limit such as 500/minute, 10/second or 10000/day"


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What a quota allows, in requests, tokens and images; no two limits of a kind have the same window."""

    requests: tuple[RateLimitItem, ...] = ()
    tokens: tuple[RateLimitItem, ...] = ()
    images: tuple[RateLimitItem, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requests or self.tokens or self.images)

    def of(self, unit: Unit) -> tuple[RateLimitItem, ...]:
        """The limits that count `unit`."""
        return {"requests": self.requests, "tokens": self.tokens, "images": self.images}[unit]


def parse_limits(texts: Iterable[str]) -> tuple[RateLimitItem, ...]:
    """The limits in `texts`, each one or several in the notation of `limits` (`500/minute`, `600/10 second`).

    Amounts may be short (`450k/minute`, `1.5M/day`). Raises ValueError, which says what is expected.
    """
    items: list[RateLimitItem] = []
    for text in texts:
        items.extend(_parse(text))
    windows_s = [item.get_expiry() for item in items]
    for window_s in windows_s:
        if windows_s.count(window_s) > 1:
            raise ValueError(f"two limits for the same window of {window_s} s; expected one")
    return tuple(items)


def _parse(text: str) -> list[RateLimitItem]:
    try:
        items = parse_many(_SHORT_AMOUNT.sub(lambda match: str(parse_amount(match[0])), text))
    except ValueError:
        raise ValueError(_LIMIT_EXPECTED) from None
    if not items or any(not 1 <= item.amount <= LARGEST_AMOUNT for item in items):
        raise ValueError(f"{_LIMIT_EXPECTED}, of at least 1")
    return items


def scaled_amount(item: RateLimitItem | int, share: float) -> int:
    """`share` (0 to 1) of an amount, or of a limit's, rounded down, at least 1.

    In decimals, since in floats 29 % of 100 would be 28.
    """
    amount = item if isinstance(item, int) else item.amount
    return max(1, int(amount * Decimal(str(round(share, 9)))))


def with_minute_limit(items: tuple[RateLimitItem, ...], amount: int | None) -> tuple[RateLimitItem, ...]:
    """`items` with `amount` a minute in place of what they had for a minute; as they are, where it is None."""
    if amount is None:
        return items
    return (RateLimitItemPerMinute(amount), *(item for item in items if item.get_expiry() != MINUTE_S))


def is_pattern(name: str) -> bool:
    """Whether what stands as a model's name in the configuration has wildcards, and so may stand for many."""
    return _WILDCARD.search(name) is not None


def best_pattern(patterns: Iterable[str], model: str) -> str | None:
    """The most specific of `patterns` that `model` matches; None where none does.

    The model's own name comes first, then the pattern with the longest text before its first wildcard, then the
    longest, then the first. Wildcards are those of `fnmatch`; case counts.
    """
    matching = [pattern for pattern in patterns if pattern == model or fnmatchcase(model, pattern)]
    return max(matching, key=lambda pattern: (pattern == model, *_specificity(pattern)), default=None)


def _specificity(pattern: str) -> tuple[int, int]:
    return len(_WILDCARD.split(pattern, maxsplit=1)[0]), len(pattern)
