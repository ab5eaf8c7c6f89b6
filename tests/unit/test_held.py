"""What a worker holds and why its queues wait."""

from __future__ import annotations

import pytest

from keyfleet_workers.dispatch import held as held_module
from keyfleet_workers.dispatch import waits as waits_module
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.waits import Waits


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(held_module, "elapsed_s", clock.time)
    monkeypatch.setattr(waits_module, "elapsed_s", clock.time)
    return clock


@pytest.fixture
def held(clock: Clock) -> HeldRequests:
    return HeldRequests(30.0)


def test_a_lease_stands_from_when_it_was_asked_for(held: HeldRequests, clock: Clock) -> None:
    held.hold("q", "a", "t", clock.now_s - 2)
    clock.now_s += 27.9
    assert held.stands("q", "a", "t")
    clock.now_s += 0.1
    assert not held.stands("q", "a", "t")


def test_a_renewal_prolongs_a_lease(held: HeldRequests, clock: Clock) -> None:
    held.hold("q", "a", "t", clock.now_s)
    clock.now_s += 20
    held.renewed("q", "a", "t", clock.now_s)
    clock.now_s += 29.9
    assert held.stands("q", "a", "t")


def test_what_was_dropped_is_not_renewed(held: HeldRequests, clock: Clock) -> None:
    held.hold("q", "a", "t", clock.now_s)
    held.drop("q", "a", "t")
    held.drop("q", "a", "t")
    held.renewed("q", "a", "t", clock.now_s)
    assert not held.stands("q", "a", "t")
    assert len(held) == 0


def test_an_old_lease_is_not_the_new_one(held: HeldRequests, clock: Clock) -> None:
    held.hold("q", "a", "old", clock.now_s - 60)
    held.hold("q", "a", "new", clock.now_s)
    held.drop("q", "a", "old")
    assert (held.stands("q", "a", "old"), held.stands("q", "a", "new")) == (False, True)


def test_what_is_held_is_listed_by_queue(held: HeldRequests, clock: Clock) -> None:
    for queue, key in (("q", "a"), ("r", "b"), ("q", "c")):
        held.hold(queue, key, "t", clock.now_s)
    assert held.by_queue() == {"q": [("a", "t"), ("c", "t")], "r": [("b", "t")]}
    assert len(held) == 3


def test_a_wait_is_shown_until_it_ends(clock: Clock) -> None:
    waits = Waits()
    waits.note("q", "60 requests per 60 s", 5.0)
    waits.note("r", "concurrency", 1.0)
    assert waits.current() == {"q": ("60 requests per 60 s", 5.0), "r": ("concurrency", 1.0)}
    clock.now_s += 2
    assert list(waits.current()) == ["q"]


def test_a_wait_that_has_not_ended_is_not_cleared(clock: Clock) -> None:
    waits = Waits()
    waits.note("q", "concurrency", 5.0)
    waits.clear("q")
    waits.clear("unknown")
    assert "q" in waits.current()
    clock.now_s += 5
    waits.clear("q")
    clock.now_s -= 5
    assert waits.current() == {}


def test_waits_add_up_by_the_class_of_their_reason_and_no_further_than_their_end(clock: Clock) -> None:
    waits = Waits()
    waits.note("q", "60 requests per 60 s", 5.0, "limit_requests")
    clock.now_s += 2
    assert waits.classes() == {("q", "limit_requests")}
    assert waits.lasted_s() == {("q", "limit_requests"): 2.0}
    waits.note("q", "500 tokens per 60 s", 4.0, "limit_tokens")
    clock.now_s += 10
    assert waits.classes() == frozenset()
    assert waits.lasted_s() == {("q", "limit_requests"): 2.0, ("q", "limit_tokens"): 4.0}
    waits.clear("q")
    waits.note("q", "concurrency", 9.0, "concurrency")
    clock.now_s += 1
    waits.end("q")
    clock.now_s += 1
    assert waits.lasted_s()["q", "concurrency"] == 1.0
