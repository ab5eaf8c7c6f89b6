"""Desks by the names that calls are listed under: made when they are asked for, closed when they make room."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest

from keyfleet.calls import CallDesk, desks
from keyfleet.calls.desks import CallDesks
from keyfleet.errors import InvalidRequest
from keyfleet.running.served_models import ServedModels


class Desk:
    """As a desk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting = 0
        self.is_started = self.is_closed = self.has_left_calls = False
        self.ended = threading.Event()
        self.served: ServedModels | None = None

    def start(self) -> None:
        self.is_started = True

    def close(self) -> None:
        self.is_closed = True
        self.ended.set()

    def serve(self, served: ServedModels) -> None:
        self.served = served


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Desk]:
    monkeypatch.setattr(desks, "MOST_NAMED", 2)
    return []


@pytest.fixture
def all_desks(made: list[Desk]) -> CallDesks:
    def make(name: str) -> CallDesk:
        made.append(Desk(name))
        return cast(CallDesk, made[-1])

    return CallDesks(make)


def of(all_desks: CallDesks) -> Callable[[str], Desk]:
    def get(name: str) -> Desk:
        with all_desks.of(name) as desk:
            return cast(Desk, desk)

    return get


def test_without_a_name_it_is_the_process_own_and_each_name_has_one(all_desks: CallDesks, made: list[Desk]) -> None:
    get = of(all_desks)
    assert (get(""), get("a"), get("a"), get("b")) == (made[0], made[1], made[1], made[2])
    assert [desk.is_started for desk in made] == [False, True, True]  # its own is started by who opens the fleet


def test_the_one_that_was_idle_for_longest_makes_room(all_desks: CallDesks, made: list[Desk]) -> None:
    get = of(all_desks)
    first, second = get("a"), get("b")
    get("a")
    get("c")
    assert second.ended.wait(10)
    assert not first.is_closed
    assert get("b") is made[-1]


def test_one_with_calls_under_way_is_kept_and_where_all_have_some_no_more_are_made(all_desks: CallDesks) -> None:
    get = of(all_desks)
    first, second = get("a"), get("b")
    first.waiting = second.waiting = 1
    with pytest.raises(InvalidRequest, match="job: 2 names have calls under way") as refused:
        get("c")
    assert (refused.value.code, refused.value.field) == ("too_many_jobs", "job")
    second.waiting = 0
    with all_desks.of("b"), pytest.raises(InvalidRequest):
        get("c")
    get("c")
    assert second.ended.wait(10)
    assert not first.is_closed


def test_all_follow_what_the_keys_can_do_also_those_that_come_later(all_desks: CallDesks, made: list[Desk]) -> None:
    of(all_desks)("a")
    served = ServedModels((), 1.0)
    all_desks.serve(served)
    of(all_desks)("b")
    assert [desk.served for desk in made] == [served] * 3


def test_all_are_closed_and_tell_of_calls_that_were_left(all_desks: CallDesks, made: list[Desk]) -> None:
    of(all_desks)("a")
    all_desks.close()
    assert all(desk.is_closed for desk in made)
    assert not all_desks.has_left_calls
    made[1].has_left_calls = True
    assert all_desks.has_left_calls
