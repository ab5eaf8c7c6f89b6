"""An exact sliding window as a strategy of `limits`."""

from __future__ import annotations

import time
from typing import cast

from limits import RateLimitItem, WindowStats
from limits.strategies import RateLimiter

from keyfleet_workers.limiter.quota import QuotaLimit
from keyfleet_workers.limiter.storage import ExactRedisStorage

__all__ = ["ExactSlidingWindowRateLimiter"]


class ExactSlidingWindowRateLimiter(RateLimiter):
    """Exact sliding window, weighted at a cost that doesn't depend on the weight, on the server's clock.

    In every trailing window the costs of all hits together never exceed the item's amount. A hit leaves the window up
    to 1/256 of it late, as hits are kept in that many slots. Needs an `ExactRedisStorage`.
    """

    def __init__(self, storage: ExactRedisStorage, *, guard_ms: int = 0) -> None:
        """`guard_ms` widens every window, against jitter between the grant and its use."""
        super().__init__(storage)
        self._exact = storage
        self._guard_ms = guard_ms

    def _limit(self, item: RateLimitItem, identifiers: tuple[str, ...]) -> QuotaLimit:
        key = self._exact.prefixed_key(item.key_for(*identifiers))
        return QuotaLimit(key, "requests", item.amount, item.get_expiry() * 1000, self._guard_ms)

    def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Consume `cost` if it fits now."""
        return self._exact.reserve([self._limit(item, identifiers)], [[cost]]).granted == 1

    def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Whether `cost` would fit now."""
        return self.wait_ms(item, *identifiers, cost=cost) == 0

    def wait_ms(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> int | None:
        """Milliseconds until `cost` fits if nothing else is granted meanwhile; None when it never does."""
        return self._exact.inspect([self._limit(item, identifiers)], [cost])[0][1]

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """When the whole window will be free (seconds since the epoch, this host's clock), and what is left now."""
        used, wait_ms = self._exact.inspect([self._limit(item, identifiers)], [item.amount])[0]
        return WindowStats(time.time() + cast(int, wait_ms) / 1000, max(0, item.amount - used))
