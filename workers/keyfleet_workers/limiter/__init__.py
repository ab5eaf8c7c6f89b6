"""The limiter: exact, weighted sliding windows in Redis that all hosts share."""

from keyfleet_workers.limiter.quota import QuotaLimit, guard_for_ms
from keyfleet_workers.limiter.storage import Correction, ExactRedisStorage, Reservation, Settlement
from keyfleet_workers.limiter.strategy import ExactSlidingWindowRateLimiter

__all__ = [
    "Correction",
    "ExactRedisStorage",
    "ExactSlidingWindowRateLimiter",
    "QuotaLimit",
    "Reservation",
    "Settlement",
    "guard_for_ms",
]
