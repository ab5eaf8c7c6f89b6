"""The exact sliding window, on a stand-in server whose clock the tests move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import parse

from keyfleet_workers.limiter import ExactRedisStorage, QuotaLimit, Reservation, guard_for_ms

if TYPE_CHECKING:
    from tests.conftest import StandIn

SLOTS = 256
WINDOWS_MS = (40, 1000, 60_000, 86_400_000)

Step = tuple[str, int, list[float]]


def storage_on(client: redis.Redis) -> ExactRedisStorage:
    return ExactRedisStorage("keyfleet+redis://stand-in", connection_pool=client.connection_pool, declare_flags=False)


def limit(amount: int, window_ms: int = 1000, guard_ms: int = 0, key: str = "window") -> QuotaLimit:
    return QuotaLimit(key, "requests", amount, window_ms, guard_ms)


def slot_width_ms(of: QuotaLimit) -> int:
    return max(1, -(-of.window_ms // SLOTS))


def worst_trailing_sum(grants: Sequence[tuple[int, int]], window_ms: int) -> int:
    """The largest sum of costs in any trailing window, both of its ends included; grants are (time, cost) in order."""
    worst, total, oldest = 0, 0, 0
    for now_ms, cost in grants:
        total += cost
        while grants[oldest][0] < now_ms - window_ms:
            total -= grants[oldest][1]
            oldest += 1
        worst = max(worst, total)
    return worst


def stored_total_and_sum(client: redis.Redis, key: str) -> tuple[int, int]:
    """What a window says it holds, and what its slots hold."""
    fields = client.hgetall(key)
    assert isinstance(fields, dict)
    slots = [int(value.split()[1]) for name, value in fields.items() if name.isdigit()]
    return int(fields.get(b"total", 0)), sum(slots)


@st.composite
def limit_sets(draw: st.DrawFn) -> list[QuotaLimit]:
    count = draw(st.integers(1, 3))
    return [
        limit(
            draw(st.integers(1, 300)),
            draw(st.sampled_from(WINDOWS_MS)),
            draw(st.sampled_from((0, 7, 100))),
            key=f"window-{index}",
        )
        for index in range(count)
    ]


STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(
        st.sampled_from(("reserve", "advance", "wait", "step back")),
        st.integers(0, 400),
        st.lists(st.floats(0, 0.6), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=40,
)


class Fleet:
    """Reserves on several limits at once and checks every answer against a record of all grants."""

    def __init__(self, stand_in: StandIn, limits: list[QuotaLimit]) -> None:
        self.clock = stand_in.clock
        self.client = stand_in.client()
        self.limits = limits
        self.storage = storage_on(self.client)
        self.grants: list[list[tuple[int, int]]] = [[] for _ in limits]
        self.stepped_back_ms = 0

    def real_ms(self) -> int:
        """The true time, which the server's clock may have stepped back from."""
        return self.clock.now_ms + self.stepped_back_ms

    def step_back(self, duration_ms: int) -> None:
        self.stepped_back_ms += duration_ms
        self.clock.advance_ms(-duration_ms)

    def costs(self, shares: Sequence[float]) -> list[list[int]]:
        return [[round(share * one.amount) for one in self.limits] for share in shares]

    def reserve(self, costs: list[list[int]]) -> Reservation:
        before = [used for used, _ in self.storage.inspect(self.limits, costs[0])]
        got = self.storage.reserve(self.limits, costs)
        after = [used for used, _ in self.storage.inspect(self.limits, costs[0])]
        granted = costs[: got.granted]
        for index, one in enumerate(self.limits):
            assert after[index] - before[index] == sum(row[index] for row in granted)
            assert stored_total_and_sum(self.client, one.key)[0] == stored_total_and_sum(self.client, one.key)[1]
            self.grants[index].extend((self.real_ms(), row[index]) for row in granted)
        if got.granted < len(costs):
            self.check_refusal(got, costs[got.granted], after)
        else:
            assert got.wait_ms == 0
        return got

    def check_refusal(self, got: Reservation, costs: list[int], used: list[int]) -> None:
        """What was refused doesn't fit, and would not fit by an ideal count that rounds to a slot either."""
        over = [used[i] + costs[i] > one.amount for i, one in enumerate(self.limits)]
        assert any(over)
        assert got.blocked_by is not None
        assert over[self.limits.index(got.blocked_by)]
        if self.stepped_back_ms:  # which may count as a full window
            return
        for index, one in enumerate(self.limits):
            since_ms = got.now_ms - one.window_ms - one.guard_ms - slot_width_ms(one)
            assert used[index] <= sum(cost for at_ms, cost in self.grants[index] if at_ms >= since_ms)

    def check_wait(self, costs: list[int]) -> None:
        """A promised wait is kept to the millisecond; after a step back it is never longer than promised."""
        got = self.storage.reserve(self.limits, [[0] * len(costs), costs])
        if got.granted == 2:
            for index, cost in enumerate(costs):
                self.grants[index].append((self.real_ms(), cost))
            return
        if got.wait_ms is None:
            assert any(cost > one.amount for cost, one in zip(costs, self.limits, strict=True))
            return
        assert got.wait_ms > 0
        self.clock.now_ms = got.now_ms + got.wait_ms - 1
        if not self.stepped_back_ms:
            assert max(left or 0 for _, left in self.storage.inspect(self.limits, costs)) == 1
        self.clock.advance_ms(1)
        assert self.reserve([costs]).granted == 1

    def check_windows(self) -> None:
        for index, one in enumerate(self.limits):
            assert worst_trailing_sum(self.grants[index], one.window_ms) <= one.amount


@given(limits=limit_sets(), steps=STEPS)
@settings(max_examples=60)
def test_no_trailing_window_is_ever_over_its_amount(
    stand_in: StandIn, limits: list[QuotaLimit], steps: list[Step]
) -> None:
    fleet = Fleet(stand_in, limits)
    for action, permille, shares in steps:
        span_ms = limits[permille % len(limits)].window_ms
        if action == "reserve":
            fleet.reserve(fleet.costs(shares))
        elif action == "advance":
            fleet.clock.advance_ms(span_ms * permille // 250)
        elif action == "wait":
            fleet.check_wait(fleet.costs(shares)[0])
        else:
            fleet.step_back(span_ms * permille // 1000)
            fleet.reserve(fleet.costs(shares))
        fleet.check_windows()


@given(
    amount=st.integers(1, 500),
    gaps_ms=st.lists(st.integers(0, 60), min_size=5, max_size=60),
    costs=st.lists(st.integers(1, 100), min_size=60, max_size=60),
)
def test_bursts_between_slots_never_overshoot(
    stand_in: StandIn, amount: int, gaps_ms: list[int], costs: list[int]
) -> None:
    fleet = Fleet(stand_in, [limit(amount, 1000)])
    for gap_ms, cost in zip(gaps_ms, costs, strict=False):
        fleet.clock.advance_ms(gap_ms)
        fleet.reserve([[min(cost, amount)]] * 3)
    fleet.check_windows()


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
    storage.reserve([quota], [[1]])
    for gap_ms in (500, 501, 600, 900):
        stand_in.clock.advance_ms(gap_ms)
        storage.reserve([quota], [[1]])
    stand_in.clock.advance_ms(101)
    assert storage.inspect([quota], [0])[0][0] == 1


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


@given(
    amounts=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    guards_ms=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    steps=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 400), st.integers(1, 20)), max_size=60),
)
def test_processes_with_other_guards_and_amounts_share_one_window(
    stand_in: StandIn, amounts: tuple[int, int], guards_ms: tuple[int, int], steps: list[tuple[int, int, int]]
) -> None:
    storage = storage_on(stand_in.client())
    limits = [limit(amount, 1000, guard_ms) for amount, guard_ms in zip(amounts, guards_ms, strict=True)]
    grants: list[tuple[int, int]] = []
    for who, gap_ms, cost in steps:
        stand_in.clock.advance_ms(gap_ms)
        got = storage.reserve([limits[who]], [[cost]])
        if got.granted:
            grants.append((got.now_ms, cost))
            assert sum(one for at_ms, one in grants if at_ms >= got.now_ms - 1000) <= amounts[who]
    assert worst_trailing_sum(grants, 1000) <= max(amounts)


def test_the_guard_is_a_tenth_of_a_second_or_a_share_of_long_windows() -> None:
    assert [guard_for_ms(window_ms) for window_ms in (1000, 40_000, 60_000, 86_400_000)] == [100, 100, 150, 216_000]


def test_a_limit_of_an_item_keeps_its_unit_window_and_share() -> None:
    quota = QuotaLimit.of_item("q", "tokens", parse("200000/minute"), 140_000)
    assert (quota.amount, quota.window_ms, quota.guard_ms) == (140_000, 60_000, 150)
    assert quota.describe() == "140000 tokens per 60 s"
    assert (quota.cost(77), limit(1).cost(77)) == (77, 1)


def test_limits_of_one_quota_with_other_units_or_windows_are_other_windows() -> None:
    keys = {
        QuotaLimit.of_item("q", "tokens", parse("1/minute"), 1).key,
        QuotaLimit.of_item("q", "requests", parse("1/minute"), 1).key,
        QuotaLimit.of_item("q", "requests", parse("1/day"), 1).key,
        QuotaLimit.of_item("r", "requests", parse("1/day"), 1).key,
    }
    assert len(keys) == 4
