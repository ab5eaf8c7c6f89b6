"""Settling: corrections of grants, on a stand-in server whose clock the tests move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfleet_workers.limiter import ExactRedisStorage, QuotaLimit, Settlement

if TYPE_CHECKING:
    from support.stand_in import StandIn

LIMIT = QuotaLimit("window", "tokens", 100, 1000, 0)


def storage_on(client: redis.Redis) -> ExactRedisStorage:
    return ExactRedisStorage("keyfleet+redis://stand-in", connection_pool=client.connection_pool, declare_flags=False)


class Window:
    """One window of 100 in any trailing second."""

    def __init__(self, stand_in: StandIn, limit: QuotaLimit = LIMIT) -> None:
        self.clock = stand_in.clock
        self.client = stand_in.client()
        self.limit = limit
        self.storage = storage_on(self.client)

    def grant(self, cost: int) -> int:
        """Returns the time of the grant, which must succeed."""
        got = self.storage.reserve([self.limit], [[cost]])
        assert got.granted == 1
        return got.now_ms

    def settle(self, granted_ms: int | None, used_ms: int, reserved: int, delta: int) -> None:
        self.storage.settle([self.limit], [Settlement(granted_ms, used_ms, (reserved,), (delta,))])

    def used(self) -> int:
        return self.storage.inspect([self.limit], [0])[0][0]

    def wait_ms(self, cost: int) -> int | None:
        return self.storage.inspect([self.limit], [cost])[0][1]

    def slots_and_total(self) -> tuple[int, int]:
        fields = self.client.hgetall(self.limit.key)
        assert isinstance(fields, dict)
        slots = [int(value.split()[1]) for name, value in fields.items() if name.isdigit()]
        return sum(slots), int(fields.get(b"total", 0))


@pytest.fixture
def window(stand_in: StandIn) -> Window:
    return Window(stand_in)


def test_a_surcharge_may_carry_the_window_above_its_amount_and_then_nothing_is_granted(window: Window) -> None:
    granted_ms = window.grant(90)
    window.settle(granted_ms, granted_ms, 90, 60)
    assert window.used() == 150
    assert window.storage.reserve([window.limit], [[1]]).granted == 0
    assert window.wait_ms(1) == 1001
    window.clock.advance_ms(1001)
    assert window.grant(100)


def test_a_surcharge_drains_slot_by_slot(window: Window) -> None:
    window.grant(40)
    window.clock.advance_ms(500)
    second_ms = window.grant(40)
    window.settle(second_ms, second_ms, 40, 40)
    window.clock.advance_ms(501)
    assert window.used() == 80
    assert window.wait_ms(21) == 500


def test_a_refund_frees_at_once(window: Window) -> None:
    granted_ms = window.grant(100)
    window.settle(granted_ms, granted_ms, 100, -30)
    assert (window.used(), window.wait_ms(30)) == (70, 0)


def test_a_refund_never_frees_more_than_its_slot_holds(window: Window) -> None:
    window.grant(50)
    window.clock.advance_ms(500)
    granted_ms = window.grant(20)
    window.settle(granted_ms, granted_ms, 20, -70)
    assert window.used() == 50


def test_a_charge_moves_forward_to_the_time_of_its_use(window: Window) -> None:
    granted_ms = window.grant(100)
    window.clock.advance_ms(400)
    window.settle(granted_ms, granted_ms + 400, 100, 0)
    window.clock.advance_ms(1000)
    assert window.wait_ms(1) == 1
    window.clock.advance_ms(1)
    assert window.used() == 0


def test_a_charge_never_moves_backward(window: Window) -> None:
    window.grant(1)
    window.clock.advance_ms(500)
    granted_ms = window.grant(99)
    window.settle(granted_ms, granted_ms - 400, 99, 0)
    window.clock.advance_ms(501)
    assert window.used() == 99


def test_a_use_in_the_future_is_taken_as_now(window: Window) -> None:
    granted_ms = window.grant(100)
    window.settle(granted_ms, granted_ms + 5000, 100, 0)
    window.clock.advance_ms(1001)
    assert window.used() == 0


def test_settling_what_has_left_the_window_changes_nothing(window: Window) -> None:
    granted_ms = window.grant(60)
    window.clock.advance_ms(1201)
    window.grant(10)
    for delta in (40, 0, -40):
        window.settle(granted_ms, granted_ms + 200, 60, delta)
        assert window.used() == 10


def test_a_surcharge_counts_at_the_time_of_its_use_even_when_its_grant_has_left(window: Window) -> None:
    granted_ms = window.grant(60)
    window.clock.advance_ms(1001)
    window.settle(granted_ms, granted_ms + 200, 60, 40)
    assert (window.used(), window.wait_ms(100)) == (40, 200)


def test_a_refund_of_what_has_left_takes_nothing_from_the_time_of_its_use(window: Window) -> None:
    granted_ms = window.grant(60)
    window.clock.advance_ms(800)
    window.grant(40)
    window.clock.advance_ms(201)
    window.settle(granted_ms, granted_ms + 800, 60, -60)
    assert window.used() == 40


def test_a_charge_that_was_moved_is_not_moved_twice(window: Window) -> None:
    granted_ms = window.grant(60)
    for _ in range(2):
        window.clock.advance_ms(300)
        window.settle(granted_ms, window.clock.now_ms, 60, 0)
    assert window.slots_and_total() == (60, 60)


def test_each_limit_is_settled_by_its_own_delta(stand_in: StandIn) -> None:
    storage = storage_on(stand_in.client())
    limits = [QuotaLimit("requests", "requests", 10, 1000, 0), LIMIT]
    granted_ms = storage.reserve(limits, [[1, 50], [1, 50]]).now_ms
    storage.settle(limits, [Settlement(granted_ms, granted_ms, (1, 50), (0, 5))] * 2)
    assert [used for used, _ in storage.inspect(limits, [0, 0])] == [2, 110]


def test_settling_in_a_pipeline_happens_when_the_pipeline_runs(window: Window) -> None:
    granted_ms = window.grant(10)
    pipeline = window.client.pipeline(transaction=False)
    window.storage.settle([window.limit], [Settlement(granted_ms, granted_ms, (10,), (5,))], pipeline)
    assert window.used() == 10
    pipeline.execute()
    assert window.used() == 15


def test_settling_on_a_window_that_was_lost_does_not_hide_the_loss(window: Window) -> None:
    granted_ms = window.grant(60)
    window.client.flushall()
    window.settle(granted_ms, granted_ms, 60, 0)
    got = window.storage.reserve([window.limit], [[1]], [granted_ms])
    assert (got.granted, got.wait_ms) == (0, 1001)


def test_a_surcharge_on_a_window_that_was_lost_makes_it_full_for_everybody(window: Window) -> None:
    granted_ms = window.grant(60)
    window.client.flushall()
    window.settle(granted_ms, granted_ms, 60, 5)
    assert window.wait_ms(1) == 1001


def test_what_was_never_granted_here_is_charged_now_and_tells_of_no_loss(window: Window) -> None:
    window.clock.advance_ms(500)
    began_ms = window.clock.now_ms
    window.clock.advance_ms(100)
    window.grant(30)  # another worker knows the limit already
    window.clock.advance_ms(100)
    window.settle(None, began_ms, 0, 20)
    assert window.used() == 50
    window.clock.advance_ms(1000)
    assert window.used() == 20


def test_settling_on_a_window_that_is_long_over_leaves_it_empty(window: Window) -> None:
    granted_ms = window.grant(60)
    window.clock.advance_ms(5000)
    window.settle(granted_ms, granted_ms, 60, 20)
    assert window.used() == 0


@dataclass
class Charge:
    """What the provider counts of one grant, as far as it was told."""

    granted_ms: int
    at_ms: int
    cost: int
    settled: bool = False


@given(
    window_ms=st.sampled_from((100, 1000, 60_000)),
    guard_ms=st.sampled_from((0, 30)),
    steps=st.lists(
        st.tuples(
            st.sampled_from(("grant", "grant", "settle", "advance")),
            st.integers(0, 1000),
            st.integers(1, 60),
            st.integers(-60, 60),
        ),
        max_size=60,
    ),
)
@settings(max_examples=80)
def test_no_grant_overshoots_beside_settled_charges(
    stand_in: StandIn, window_ms: int, guard_ms: int, steps: list[tuple[str, int, int, int]]
) -> None:
    window = Window(stand_in, QuotaLimit("window", "tokens", 100, window_ms, guard_ms))
    charges: list[Charge] = []
    for action, permille, cost, delta in steps:
        now_ms = window.clock.now_ms
        if action == "advance":
            window.clock.advance_ms(window_ms * permille // 2000)
        elif action == "grant":
            if window.storage.reserve([window.limit], [[cost]]).granted:
                charges.append(Charge(now_ms, now_ms, cost))
                assert sum(one.cost for one in charges if one.at_ms >= now_ms - window_ms) <= 100
        elif open_charges := [one for one in charges if not one.settled]:
            one = open_charges[permille % len(open_charges)]
            used_ms = one.granted_ms + (now_ms - one.granted_ms) * permille // 1000
            window.settle(one.granted_ms, used_ms, one.cost, max(delta, -one.cost))
            one.settled = True
            if one.granted_ms >= now_ms - window_ms:
                one.at_ms, one.cost = used_ms, one.cost + max(delta, -one.cost)
        slots, total = window.slots_and_total()
        assert slots == total
        assert window.used() >= sum(one.cost for one in charges if one.at_ms >= window.clock.now_ms - window_ms)
