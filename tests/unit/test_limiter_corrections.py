"""Corrections: what a provider says is left counts where it is less than what is left here, and for no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyfleet_workers.limiter import Correction, ExactRedisStorage, QuotaLimit, Settlement

if TYPE_CHECKING:
    from support.stand_in import StandIn

AMOUNT = 100


class Window:
    """One window of 100 in any trailing minute, that others use as well."""

    def __init__(self, stand_in: StandIn) -> None:
        self.clock = stand_in.clock
        self.client = stand_in.client()
        self.limit = QuotaLimit("window", "tokens", AMOUNT, 60_000, 0)
        self.storage = ExactRedisStorage(
            "keyfleet+redis://stand-in", connection_pool=self.client.connection_pool, declare_flags=False
        )

    def grant(self, cost: int) -> int:
        """Returns the time of the grant, which must succeed."""
        got = self.storage.reserve([self.limit], [[cost]])
        assert got.granted == 1
        return got.now_ms

    def correct(self, granted_ms: int, left: int, remaining: int | None, reset_ms: int | None = None) -> None:
        self.storage.correct([self.limit], [Correction(granted_ms, left, remaining, reset_ms)])

    def open(self) -> int:
        """The largest cost that fits now."""
        return max((cost for cost in range(AMOUNT + 1) if self.wait_ms(cost) == 0), default=0)

    def wait_ms(self, cost: int) -> int | None:
        return self.storage.inspect([self.limit], [cost])[0][1]


@pytest.fixture
def window(stand_in: StandIn) -> Window:
    return Window(stand_in)


def test_what_others_have_used_is_left_alone(window: Window) -> None:
    granted_ms = window.grant(10)
    assert window.open() == 90
    window.correct(granted_ms, left=90, remaining=30)
    assert window.open() == 30


def test_more_left_there_than_here_changes_nothing(window: Window) -> None:
    granted_ms = window.grant(10)
    window.correct(granted_ms, left=90, remaining=99)
    assert window.open() == 90


def test_what_was_granted_since_counts_beside_what_others_used(window: Window) -> None:
    granted_ms = window.grant(10)
    window.grant(20)
    window.correct(granted_ms, left=90, remaining=50)
    assert window.open() == 50


def test_it_ends_with_the_providers_reset(window: Window) -> None:
    granted_ms = window.grant(10)
    window.correct(granted_ms, left=90, remaining=30, reset_ms=5000)
    window.clock.advance_ms(4999)
    assert window.open() == 30
    assert window.wait_ms(80) == 1
    window.clock.advance_ms(1)
    assert window.open() == 90


def test_it_ends_with_the_window_of_the_grant_at_the_latest(window: Window) -> None:
    granted_ms = window.grant(10)
    window.correct(granted_ms, left=90, remaining=30, reset_ms=3_600_000)
    window.clock.advance_ms(59_999)
    window.grant(1)
    assert window.open() == 29
    window.clock.advance_ms(2)
    assert window.open() == AMOUNT - 1


def test_grants_between_a_call_and_its_answer_do_not_hide_what_others_used(window: Window) -> None:
    window.correct(window.grant(1), left=99, remaining=49)
    granted_ms = window.grant(1)
    window.grant(1)  # before the answer is taken over, which tells nothing of it
    window.correct(granted_ms, left=98, remaining=48)
    assert window.open() == AMOUNT - 3 - 50


def test_of_several_answers_the_one_that_leaves_least_counts(window: Window) -> None:
    first_ms = window.grant(10)
    second_ms = window.grant(10)
    window.correct(second_ms, left=80, remaining=30)
    window.correct(first_ms, left=90, remaining=75)
    assert window.open() == 30


def test_others_that_have_stopped_leave_all_of_it_after_a_while(window: Window) -> None:
    window.correct(window.grant(10), left=90, remaining=30)
    for _ in range(3):
        window.clock.advance_ms(10_000)
        window.correct(window.clock.now_ms, left=90, remaining=90)
    assert window.open() == 90


def test_nothing_left_stops_everybody_until_the_reset(window: Window) -> None:
    window.correct(window.grant(10), left=90, remaining=0, reset_ms=30_000)
    assert window.open() == 0
    assert window.wait_ms(1) == 30_000


def test_an_answer_that_does_not_say_changes_nothing(window: Window) -> None:
    window.correct(window.grant(10), left=90, remaining=None)
    assert window.open() == 90


def test_a_window_that_the_server_does_not_have_is_not_made_up(window: Window) -> None:
    window.correct(window.clock.now_ms, left=90, remaining=30)
    assert window.client.exists(window.limit.key) == 0


def test_settling_beside_a_correction_keeps_it(window: Window) -> None:
    granted_ms = window.grant(20)
    window.correct(granted_ms, left=80, remaining=50)
    window.storage.settle([window.limit], [Settlement(granted_ms, granted_ms, (20,), (-10,))])
    assert window.open() == 60
