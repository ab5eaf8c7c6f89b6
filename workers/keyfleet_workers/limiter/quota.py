"""A quota's limits, as the limiter's scripts want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem

from keyfleet import redis_keys
from keyfleet.config import Unit
from keyfleet.contract import Cost

__all__ = ["GUARD_MIN_MS", "GUARD_SHARE", "QuotaLimit", "guard_for_ms"]

GUARD_MIN_MS = 100
"""Least guard of a window (ms): jitter between a grant and the provider's own count."""

GUARD_SHARE = 0.0025
"""Guard as a share of the window, where that is more than `GUARD_MIN_MS`."""


def guard_for_ms(window_ms: int) -> int:
    """By how many milliseconds a window is widened against jitter between us and the provider."""
    return max(GUARD_MIN_MS, round(window_ms * GUARD_SHARE))


@dataclass(frozen=True, slots=True)
class QuotaLimit:
    """One limit of one quota: at most `amount` of `unit` in any trailing `window_ms`."""

    key: str
    unit: Unit
    amount: int
    window_ms: int
    guard_ms: int

    @classmethod
    def of_item(
        cls, quota: str, unit: Unit, item: RateLimitItem, amount: int, guard_ms: int | None = None
    ) -> QuotaLimit:
        """The limit of `item` in `quota`, with `amount` in place of the item's where only a share may be used."""
        window_s = item.get_expiry()
        window_ms = window_s * 1000
        guard = guard_for_ms(window_ms) if guard_ms is None else guard_ms
        return cls(redis_keys.quota_window(quota, unit, window_s), unit, amount, window_ms, guard)

    def cost(self, cost: Cost) -> int:
        """What one call of `cost` takes of this limit."""
        if self.unit == "requests":
            return 1
        return cost.tokens if self.unit == "tokens" else cost.images

    def describe(self) -> str:
        """The limit in words, e.g. `60 requests per 60 s`."""
        return f"{self.amount} {self.unit} per {self.window_ms // 1000} s"


def as_arguments(limits: Sequence[QuotaLimit], known_ms: Sequence[int] | None = None) -> list[int]:
    """The limits as the scripts read them: amount, window_ms, guard_ms, known_ms of each."""
    latest_ms = known_ms if known_ms is not None else [0] * len(limits)
    return [
        value
        for limit, granted_ms in zip(limits, latest_ms, strict=True)
        for value in (limit.amount, limit.window_ms, limit.guard_ms, granted_ms)
    ]
