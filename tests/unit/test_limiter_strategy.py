"""The exact sliding window as a strategy of the `limits` library."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from limits import RateLimitItemPerMinute, parse
from limits.storage import storage_from_string
from limits.strategies import RateLimiter

from keyfleet_workers.limiter import ExactRedisStorage, ExactSlidingWindowRateLimiter

if TYPE_CHECKING:
    from support.stand_in import StandIn

MINUTE = RateLimitItemPerMinute(10)


@pytest.fixture
def storage(stand_in: StandIn) -> ExactRedisStorage:
    pool = stand_in.client().connection_pool
    return ExactRedisStorage("keyfleet+redis://stand-in", connection_pool=pool, declare_flags=False)


@pytest.fixture
def limiter(storage: ExactRedisStorage) -> ExactSlidingWindowRateLimiter:
    return ExactSlidingWindowRateLimiter(storage)


def test_it_is_a_strategy_of_limits(limiter: ExactSlidingWindowRateLimiter) -> None:
    assert isinstance(limiter, RateLimiter)


def test_hits_with_a_cost_are_granted_up_to_the_amount(limiter: ExactSlidingWindowRateLimiter) -> None:
    assert [limiter.hit(MINUTE, "a", cost=4) for _ in range(3)] == [True, True, False]
    assert limiter.hit(MINUTE, "a", cost=2)
    assert not limiter.hit(MINUTE, "a")


def test_a_test_consumes_nothing(limiter: ExactSlidingWindowRateLimiter) -> None:
    for _ in range(3):
        assert limiter.test(MINUTE, "a", cost=10)
    assert not limiter.test(MINUTE, "a", cost=11)
    assert limiter.get_window_stats(MINUTE, "a").remaining == 10


def test_identifiers_and_items_are_apart(limiter: ExactSlidingWindowRateLimiter) -> None:
    limiter.hit(MINUTE, "a", "b", cost=10)
    assert limiter.test(MINUTE, "a", "c", cost=10)
    assert limiter.test(parse("10/hour"), "a", "b", cost=10)
    assert not limiter.test(MINUTE, "a", "b")


def test_the_wait_is_in_milliseconds_and_comes_true(limiter: ExactSlidingWindowRateLimiter, stand_in: StandIn) -> None:
    limiter.hit(MINUTE, "a", cost=10)
    stand_in.clock.advance_ms(20_000)
    assert limiter.wait_ms(MINUTE, "a") == 40_001
    assert limiter.wait_ms(MINUTE, "a", cost=11) is None
    stand_in.clock.advance_ms(40_001)
    assert limiter.hit(MINUTE, "a", cost=10)


def test_the_guard_widens_every_window(storage: ExactRedisStorage) -> None:
    limiter = ExactSlidingWindowRateLimiter(storage, guard_ms=500)
    limiter.hit(MINUTE, "a", cost=10)
    assert limiter.wait_ms(MINUTE, "a") == 60_501


def test_window_statistics_say_what_is_left_and_when_all_is_free(limiter: ExactSlidingWindowRateLimiter) -> None:
    limiter.hit(MINUTE, "a", cost=7)
    stats = limiter.get_window_stats(MINUTE, "a")
    assert stats.remaining == 3
    assert stats.reset_time == pytest.approx(time.time() + 60, abs=5)


def test_window_statistics_of_an_unused_window(limiter: ExactSlidingWindowRateLimiter) -> None:
    stats = limiter.get_window_stats(MINUTE, "nobody")
    assert stats.remaining == 10
    assert stats.reset_time == pytest.approx(time.time(), abs=5)


def test_clearing_forgets_one_window(limiter: ExactSlidingWindowRateLimiter) -> None:
    for who in ("a", "b"):
        limiter.hit(MINUTE, who, cost=10)
    limiter.clear(MINUTE, "a")
    assert (limiter.test(MINUTE, "a"), limiter.test(MINUTE, "b")) == (True, False)


def test_resetting_forgets_all_windows_of_the_storage(
    limiter: ExactSlidingWindowRateLimiter, storage: ExactRedisStorage
) -> None:
    for who in ("a", "b"):
        limiter.hit(MINUTE, who, cost=10)
    assert storage.reset() == 2
    assert limiter.test(MINUTE, "a", cost=10)


def test_limits_finds_the_storage_by_its_scheme() -> None:
    storage = storage_from_string("keyfleet+redis://localhost:6379")
    assert isinstance(storage, ExactRedisStorage)
