"""The exact sliding window, on a stand-in server whose clock the tests move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis
from limits import parse

from keyfleet.contract import Cost
from keyfleet_workers.limiter import ExactRedisStorage, QuotaLimit, Reservation, guard_for_ms

if TYPE_CHECKING:
    from support.stand_in import StandIn

SLOTS = 256


def storage_on(client: redis.Redis) -> ExactRedisStorage:
    return ExactRedisStorage("keyfleet+redis://stand-in", connection_pool=client.connection_pool, declare_flags=False)


def limit(amount: int, window_ms: int = 1000, guard_ms: int = 0, key: str = "window") -> QuotaLimit:
    return QuotaLimit(key, "requests", amount, window_ms, guard_ms)


def slot_width_ms(of: QuotaLimit) -> int:
    return max(1, -(-of.window_ms // SLOTS))


def test_the_longest_prefix_is_granted_and_the_first_that_does_not_fit_is_named(stand_in: StandIn) -> None:
    requests = limit(5, key="requests")
    tokens = QuotaLimit("tokens", "tokens", 100, 1000, 0)
    got = storage_on(stand_in.client()).reserve([requests, tokens], [[1, 40], [1, 40], [1, 40], [1, 1]])
    assert got == Reservation(2, 1001, tokens, stand_in.clock.now_ms)


def test_what_one_limit_refuses_is_charged_to_none(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    limits = [limit(5, key="requests"), limit(100, key="tokens")]
    assert storage.reserve(limits, [[1, 101]]).granted == 0
    assert [used for used, _ in storage.inspect(limits, [0, 0])] == [0, 0]


def test_the_longest_wait_of_all_limits_counts(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    minute, day = limit(2, 60_000, key="minute"), limit(2, 86_400_000, key="day")
    storage.reserve([minute, day], [[1, 1], [1, 1]])
    got = storage.reserve([minute, day], [[1, 1]])
    assert (got.wait_ms, got.blocked_by) == (86_400_001, day)


def test_a_cost_above_the_amount_has_no_wait(stand_in: StandIn) -> None:
    small = limit(10)
    got = storage_on(stand_in.client()).reserve([small], [[4], [11]])
    assert (got.granted, got.wait_ms, got.blocked_by) == (1, None, small)


def test_the_guard_widens_the_window(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    guarded = limit(1, 1000, guard_ms=100)
    storage.reserve([guarded], [[1]])
    stand_in.clock.advance_ms(1100)
    assert storage.reserve([guarded], [[1]]).wait_ms == 1
    stand_in.clock.advance_ms(1)
    assert storage.reserve([guarded], [[1]]).granted == 1


def test_memory_is_bounded_whatever_the_rate(stand_in: StandIn) -> None:
    client = stand_in.client()
    storage = storage_on(client)
    busy = limit(10**9, 1000, guard_ms=100)
    for _ in range(1200):
        storage.reserve([busy], [[3]] * 5)
        stand_in.clock.advance_ms(1)
    length = client.hlen("window")
    assert isinstance(length, int)
    assert length <= (1000 + 100) // slot_width_ms(busy) + 6


def test_an_idle_window_leaves_redis(stand_in: StandIn) -> None:
    client = stand_in.client()
    storage_on(client).reserve([limit(5)], [[1]])
    stand_in.clock.advance_ms(2001)
    assert client.exists("window") == 0


def test_a_window_that_the_server_lost_counts_as_full_for_one_window(stand_in: StandIn) -> None:
    client = stand_in.client()
    storage = storage_on(client)
    quota = limit(10, 1000, guard_ms=100)
    known_ms = [storage.reserve([quota], [[3]]).now_ms]
    client.flushall()
    got = storage.reserve([quota], [[1]], known_ms)
    assert (got.granted, got.wait_ms) == (0, 1101)
    stand_in.clock.advance_ms(1100)
    assert storage.reserve([quota], [[1]], known_ms).granted == 0
    stand_in.clock.advance_ms(1)
    assert storage.reserve([quota], [[10]], known_ms).granted == 1


def test_a_window_that_was_lost_and_begun_anew_by_others_counts_as_full_once(stand_in: StandIn) -> None:
    client = stand_in.client()
    storage = storage_on(client)
    quota = limit(10, 1000)
    known_ms = [storage.reserve([quota], [[9]]).now_ms]
    client.flushall()
    stand_in.clock.advance_ms(10)
    assert storage.reserve([quota], [[5]]).granted == 1
    stand_in.clock.advance_ms(10)
    assert storage.reserve([quota], [[1]], known_ms).wait_ms == 1001
    stand_in.clock.advance_ms(500)
    assert storage.reserve([quota], [[1]], known_ms).wait_ms == 501
    stand_in.clock.advance_ms(501)
    assert storage.reserve([quota], [[10]], known_ms).granted == 1


def test_an_idle_window_is_not_taken_for_lost(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    narrow, wide = limit(10, 1000), limit(10, 1000, guard_ms=300)
    known_ms = [storage.reserve([narrow], [[9]]).now_ms]
    stand_in.clock.advance_ms(1001)
    assert storage.reserve([narrow], [[1]]).granted == 1
    stand_in.clock.advance_ms(1)
    assert storage.reserve([wide], [[1]], known_ms).granted == 1


def test_a_grant_leaves_its_window_also_when_all_before_it_had_left(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    quota = limit(10, 1000)
    used = []
    for gap_ms, cost in ((0, 1), (500, 1), (501, 0), (500, 1), (500, 1), (502, 0)):
        stand_in.clock.advance_ms(gap_ms)
        storage.reserve([quota], [[cost]])
        used.append(storage.inspect([quota], [0])[0][0])
    assert used == [1, 2, 1, 1, 2, 1]


def test_all_grants_of_a_slot_leave_with_its_newest(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    quota = limit(10, 1000)
    stand_in.clock.advance_ms(-stand_in.clock.now_ms % slot_width_ms(quota))
    for gap_ms in (0, 3):
        stand_in.clock.advance_ms(gap_ms)
        storage.reserve([quota], [[5]])
    stand_in.clock.advance_ms(1000)
    assert storage.inspect([quota], [1]) == [(10, 1)]
    stand_in.clock.advance_ms(1)
    assert storage.inspect([quota], [1]) == [(0, 0)]


def test_a_window_that_nobody_knew_begins_empty(stand_in: StandIn) -> None:
    assert storage_on(stand_in.client()).reserve([limit(10)], [[10]], [0]).granted == 1


def test_a_small_step_back_of_the_servers_clock_frees_nothing_early(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    quota = limit(10, 1000)
    granted_ms = storage.reserve([quota], [[10]]).now_ms
    stand_in.clock.advance_ms(-600)
    refused = storage.reserve([quota], [[1]])
    assert (refused.granted, refused.now_ms) == (0, granted_ms)
    stand_in.clock.now_ms = granted_ms + 1000
    assert storage.reserve([quota], [[1]]).granted == 0


def test_a_step_back_by_more_than_a_window_counts_as_full_for_one_window(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    quota = limit(10, 1000)
    storage.reserve([quota], [[1]])
    stand_in.clock.advance_ms(-3_600_000)
    got = storage.reserve([quota], [[1]])
    assert (got.granted, got.wait_ms) == (0, 1001)
    stand_in.clock.advance_ms(1001)
    assert storage.reserve([quota], [[10]]).granted == 1


def test_the_guard_is_a_tenth_of_a_second_or_a_share_of_long_windows() -> None:
    assert [guard_for_ms(window_ms) for window_ms in (1000, 40_000, 60_000, 86_400_000)] == [100, 100, 150, 216_000]


def test_a_limit_of_an_item_keeps_its_unit_window_and_share() -> None:
    quota = QuotaLimit.of_item("q", "tokens", parse("200000/minute"), 140_000)
    assert (quota.amount, quota.window_ms, quota.guard_ms) == (140_000, 60_000, 150)
    assert quota.describe() == "140000 tokens per 60 s"
    assert (quota.cost(Cost(77, 3)), limit(1).cost(Cost(77, 3))) == (77, 1)


def test_limits_of_one_quota_with_other_units_or_windows_are_other_windows() -> None:
    keys = {
        QuotaLimit.of_item("q", "tokens", parse("1/minute"), 1).key,
        QuotaLimit.of_item("q", "requests", parse("1/minute"), 1).key,
        QuotaLimit.of_item("q", "requests", parse("1/day"), 1).key,
        QuotaLimit.of_item("r", "requests", parse("1/day"), 1).key,
    }
    assert len(keys) == 4


def test_a_cost_of_nothing_fits_a_window_that_is_full(stand_in: StandIn) -> None:
    storage, full, other = storage_on(stand_in.client()), limit(5), limit(100, key="other")
    assert storage.reserve([full], [[5]]).granted == 1
    assert storage.reserve([full, other], [[0, 1], [1, 1]]).granted == 1
    assert [wait_ms for _, wait_ms in storage.inspect([full, full], [0, 1])] == [0, 1001]
