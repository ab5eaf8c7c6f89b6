"""How many calls a worker may have under way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from keyfleet_workers.dispatch.slots import SLOW_CALL_S, CallSlots


def no_pause(_: float) -> None:
    """Instead of sleeping."""


def slots(initial: int, maximum: int | None = None, pause: Callable[[float], None] = no_pause) -> CallSlots:
    return CallSlots(initial, initial if maximum is None else maximum, pause=pause)


def slow_calls(of: CallSlots) -> None:
    for _ in range(50):
        of.note_latency(2.0)


def test_slots_are_given_out_up_to_their_number() -> None:
    one = slots(8)
    assert [one.acquire(5), one.acquire(5), one.acquire(1)] == [5, 3, 0]
    assert (one.used, one.size) == (8, 8)


def test_released_slots_are_given_out_again() -> None:
    one = slots(2)
    one.acquire(2)
    one.release()
    assert one.acquire(5) == 1


def test_slots_grow_while_none_of_the_calls_that_fill_them_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("keyfleet_workers.dispatch.slots.elapsed_s", lambda: now_s)
    one = slots(8, 16)
    assert (one.acquire(8), one.acquire(1)) == (8, 0)
    now_s += SLOW_CALL_S
    assert (one.acquire(1), one.size) == (1, 10)
    one.release(9)
    assert (one.acquire(10), one.acquire(1)) == (10, 0)


def test_a_slot_is_waited_for() -> None:
    one = slots(1)
    one.acquire(1)
    got: list[int] = []
    waiter = threading.Thread(target=lambda: got.append(one.acquire(1, timeout_s=30.0)))
    waiter.start()
    one.release()
    waiter.join(30.0)
    assert got == [1]


def test_no_slot_within_the_time_gives_none() -> None:
    one = slots(1)
    one.acquire(1)
    assert one.acquire(1, timeout_s=0.01) == 0


def test_slots_that_get_free_at_once_are_taken_together() -> None:
    one = slots(100, pause=lambda _: one.release(60))
    one.acquire(100)
    one.release(2)
    assert one.acquire(32) == 32


def test_slots_grow_while_calls_are_slow_and_slots_are_short() -> None:
    one = slots(8, 20)
    slow_calls(one)
    one.acquire(8)
    assert one.size == 8
    assert one.acquire(1) == 1
    assert one.size == 10
    for _ in range(40):
        one.acquire(1)
    assert (one.size, one.used) == (20, 20)


def test_slots_do_not_grow_while_calls_are_quick() -> None:
    one = slots(8, 20)
    one.note_latency(0.02)
    one.acquire(8)
    assert one.acquire(1) == 0
    assert one.size == 8


def test_one_slot_can_grow() -> None:
    one = slots(1, 3)
    slow_calls(one)
    assert sum(one.acquire(1) for _ in range(5)) == 3


def test_the_slots_never_begin_above_their_maximum() -> None:
    assert slots(32, 4).size == 4


@pytest.mark.parametrize(("used", "is_short"), [(3, False), (4, True)])
def test_slots_are_short_when_all_are_used_at_their_maximum(used: int, is_short: bool) -> None:
    one = slots(4)
    one.acquire(used)
    assert one.is_short() is is_short


def test_no_slot_is_given_out_twice_to_many_threads() -> None:
    one = slots(7)
    most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal most
        for _ in range(200):
            got = one.acquire(3, timeout_s=30.0)
            with lock:
                most = max(most, one.used)
            one.release(got)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 7
    assert one.used == 0
