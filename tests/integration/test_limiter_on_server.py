"""The limiter on a real server: real time, several connections at once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import storage_from_string

from keyfleet.broker import connect
from keyfleet.embedded import EmbeddedServer
from keyfleet_workers.limiter import ExactRedisStorage, ExactSlidingWindowRateLimiter, QuotaLimit, Settlement

THREADS = 6
HAMMERING_S = 2.0


def storage_on(client: redis.Redis) -> ExactRedisStorage:
    return ExactRedisStorage("keyfleet+unix://", connection_pool=client.connection_pool)


def server_now_ms(client: redis.Redis) -> int:
    seconds, microseconds = cast("tuple[int, int]", client.time())
    return seconds * 1000 + microseconds // 1000


def worst_trailing_sum(grants: Sequence[tuple[int, int]], window_ms: int) -> int:
    """The largest sum of costs in any trailing window, both of its ends included; grants are (time, cost)."""
    worst, total, oldest = 0, 0, 0
    ordered = sorted(grants)
    for now_ms, cost in ordered:
        total += cost
        while ordered[oldest][0] < now_ms - window_ms:
            total -= ordered[oldest][1]
            oldest += 1
        worst = max(worst, total)
    return worst


def hammer(url: str, limits: Sequence[QuotaLimit], seed: int) -> list[tuple[int, tuple[int, ...]]]:
    """Ask for as much as there is, as fast as it goes, on a connection of one's own; returns (time, costs) granted."""
    chance = random.Random(seed)
    client = connect(url)
    storage = storage_on(client)
    grants: list[tuple[int, tuple[int, ...]]] = []
    ends_s = time.monotonic() + HAMMERING_S
    while time.monotonic() < ends_s:
        costs = [(1, chance.randint(1, 60)) for _ in range(chance.randint(1, 5))]
        got = storage.reserve(limits, costs)
        grants += [(got.now_ms, row) for row in costs[: got.granted]]
        if grants and chance.random() < 0.1:
            granted_ms, row = grants[-1]
            storage.settle(limits, [Settlement(granted_ms, granted_ms, row, (0, 0))])
    client.close()
    return grants


def in_threads(work: Callable[[int], list[tuple[int, tuple[int, ...]]]]) -> list[tuple[int, tuple[int, ...]]]:
    found: list[tuple[int, tuple[int, ...]]] = []
    threads = [threading.Thread(target=lambda n=n: found.extend(work(n))) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_many_connections_together_never_overshoot_and_use_what_there_is(
    server: EmbeddedServer, client: redis.Redis
) -> None:
    limits = [QuotaLimit("requests", "requests", 50, 300, 10), QuotaLimit("tokens", "tokens", 1200, 400, 10)]
    grants = in_threads(lambda seed: hammer(server.url, limits, seed))
    for index, limit in enumerate(limits):
        costs = [(now_ms, row[index]) for now_ms, row in grants]
        assert worst_trailing_sum(costs, limit.window_ms) <= limit.amount
    whole_windows = int(HAMMERING_S * 1000) // (400 + 10 + 2) - 1
    assert sum(row[1] for _, row in grants) >= whole_windows * (1200 - 60)


def test_workers_with_other_guards_and_amounts_keep_to_the_larger_amount_together(
    server: EmbeddedServer, client: redis.Redis
) -> None:
    kinds = [QuotaLimit("window", "requests", amount, 200, guard_ms) for amount, guard_ms in ((40, 0), (30, 25))]

    def work(seed: int) -> list[tuple[int, tuple[int, ...]]]:
        limit = kinds[seed % 2]
        return hammer(server.url, [limit, QuotaLimit("wide", "tokens", 10**9, 1000, 0)], seed)

    grants = [(now_ms, row[0]) for now_ms, row in in_threads(work)]
    assert worst_trailing_sum(grants, 200) <= 40


@given(
    amount=st.integers(1, 300),
    window_ms=st.sampled_from((5, 20, 60)),
    costs=st.lists(st.lists(st.integers(0, 120), min_size=1, max_size=8), min_size=20, max_size=120),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_trailing_window_is_ever_over_its_amount(
    client: redis.Redis, amount: int, window_ms: int, costs: list[list[int]]
) -> None:
    client.delete("window")
    storage = storage_on(client)
    limit = QuotaLimit("window", "tokens", amount, window_ms, 0)
    grants: list[tuple[int, int]] = []
    for row in costs:
        got = storage.reserve([limit], [[cost] for cost in row])
        grants += [(got.now_ms, cost) for cost in row[: got.granted]]
        if got.granted < len(row):
            assert (got.wait_ms is None) is (row[got.granted] > amount)
    assert worst_trailing_sum(grants, window_ms) <= amount


def test_the_promised_wait_comes_true(client: redis.Redis) -> None:
    storage = storage_on(client)
    limit = QuotaLimit("window", "requests", 10, 60, 5)
    for cost in (10, 3, 10, 7):
        got = storage.reserve([limit], [[cost]])
        while not got.granted:
            assert got.wait_ms is not None
            due_ms = got.now_ms + got.wait_ms
            while server_now_ms(client) < due_ms:
                pass
            got = storage.reserve([limit], [[cost]])
            assert got.granted == 1


def test_memory_is_bounded_whatever_the_rate(client: redis.Redis) -> None:
    storage = storage_on(client)
    limit = QuotaLimit("window", "requests", 10**9, 1000, 100)
    ends_s = time.monotonic() + 1.5
    while time.monotonic() < ends_s:
        storage.reserve([limit], [[1]] * 10)
    assert cast(int, client.hlen("window")) <= 1100 // 4 + 6
    assert cast(int, client.memory_usage("window")) < 40_000


def test_scripts_survive_a_server_that_forgot_them(client: redis.Redis) -> None:
    storage = storage_on(client)
    limit = QuotaLimit("window", "requests", 10, 60_000, 0)
    granted_ms = storage.reserve([limit], [[3]]).now_ms
    client.script_flush()
    assert storage.reserve([limit], [[3]]).granted == 1
    client.script_flush()
    pipeline = client.pipeline(transaction=False)
    storage.settle([limit], [Settlement(granted_ms, granted_ms, (3,), (2,))], pipeline)
    pipeline.execute()
    assert storage.inspect([limit], [0])[0][0] == 8


def test_limits_makes_the_storage_from_an_address(server: EmbeddedServer, client: redis.Redis) -> None:
    storage = storage_from_string(f"keyfleet+{server.url}")
    assert isinstance(storage, ExactRedisStorage)
    assert storage.check()
    limiter = ExactSlidingWindowRateLimiter(storage)
    item = RateLimitItemPerSecond(5)
    assert [limiter.hit(item, "somebody", cost=2) for _ in range(3)] == [True, True, False]
    assert limiter.get_window_stats(item, "somebody").remaining == 1
    limiter.clear(item, "somebody")
    assert limiter.test(item, "somebody", cost=5)
    storage.storage.close()


def test_a_server_that_lost_its_data_grants_nothing_for_one_window(client: redis.Redis) -> None:
    storage = storage_on(client)
    limit = QuotaLimit("window", "requests", 10, 60_000, 100)
    known_ms = [storage.reserve([limit], [[1]]).now_ms]
    client.flushall()
    got = storage.reserve([limit], [[1]], known_ms)
    assert got.granted == 0
    assert got.wait_ms == pytest.approx(60_101, abs=1)
