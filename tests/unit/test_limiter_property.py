"""The exact sliding window, by properties: whatever is asked of it and whenever, no window is over its amount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfleet_workers.limiter import ExactRedisStorage, QuotaLimit, Reservation

if TYPE_CHECKING:
    from support.stand_in import StandIn

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
