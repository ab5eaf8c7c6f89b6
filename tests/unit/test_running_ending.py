"""Ending a run before its end: what waits is taken back, what is under way is waited for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest
import redis

from keyfleet.ledger import JobLedger, Withdrawn
from keyfleet.running import ending as ending_module
from keyfleet.running.ending import MOST_FAILURES, Ending
from keyfleet.running.snapshot import End
from keyfleet.running.window import OpenRequest, Window
from support.events import wait_until


class Ledger:
    """Gives back what no worker holds."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.withdrawn: list[str] = []
        self.parts: list[int] = []
        self.failures = 0
        self.gone: set[str] = set()
        self.outcomes_wait = False

    def has_outcomes(self) -> bool:
        return self.outcomes_wait

    def withdraw(self, queue: str, request_ids: Sequence[str]) -> list[Withdrawn]:
        if self.failures:
            self.failures -= 1
            raise redis.ConnectionError("gone")
        self.parts.append(len(request_ids))
        found = [self._withdraw(request_id) for request_id in request_ids]
        self.withdrawn += [one for one, was in zip(request_ids, found, strict=True) if was is Withdrawn.WITHDRAWN]
        return found

    def _withdraw(self, request_id: str) -> Withdrawn:
        if request_id in self.gone:
            return Withdrawn.GONE
        return Withdrawn.HELD if request_id in self.held else Withdrawn.WITHDRAWN


class Case:
    def __init__(self, count: int = 5) -> None:
        self.ledger = Ledger()
        self.window = Window()
        for number in range(count):
            self.window.add(str(number), OpenRequest("q", 1))
        self.is_written = True
        self.are_workers_gone = False
        self.stopped = 0
        self.ending = Ending(
            End.STOPPED,
            cast(JobLedger, self.ledger),
            self.window,
            stop_feeding=self._stop,
            is_written=lambda: self.is_written,
            are_workers_gone=lambda: self.are_workers_gone,
        )

    def _stop(self) -> None:
        self.stopped += 1


def test_an_interpreter_that_ends_and_starts_no_thread_any_more_ends_in_order_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    case = Case()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    case.ending.start()
    assert case.ending.is_over
    assert (len(case.ledger.withdrawn), case.stopped) == (5, 1)


def test_what_no_worker_holds_is_taken_back_and_the_rest_is_waited_for() -> None:
    case = Case()
    case.ledger.held = {"1", "3"}
    assert not case.ending.look()
    assert case.ledger.withdrawn == ["0", "2", "4"]
    assert case.window.by_queue() == {"q": ["1", "3"]}


def test_what_comes_back_unsent_or_failed_is_taken_back_as_well() -> None:
    case = Case()
    case.ledger.held = {"1", "3"}
    assert not case.ending.look()
    case.window.remove("1")  # its outcome came
    case.ledger.held = set()  # the other one was handed back
    assert case.ending.look()
    assert len(case.window) == 0


def test_what_another_hand_withdrew_is_not_waited_for_once_no_outcome_waits() -> None:
    case = Case()
    case.ledger.gone = {"0", "1", "2", "3", "4"}
    case.ledger.outcomes_wait = True  # one of them may be among these
    assert not case.ending.look()
    case.window.remove("3")  # it was, and was collected
    case.ledger.outcomes_wait = False
    assert case.ending.look()
    assert len(case.window) == 0


def test_a_row_that_waits_to_be_written_is_waited_for() -> None:
    case = Case(0)
    case.is_written = False
    assert not case.ending.look()
    case.is_written = True
    assert case.ending.look()


def test_calls_of_workers_that_are_gone_are_not_waited_for() -> None:
    case = Case()
    case.ledger.held = {"1"}
    case.are_workers_gone = True
    assert case.ending.look()
    assert case.window.by_queue() == {"q": ["1"]}


def test_many_requests_are_taken_back_in_parts() -> None:
    case = Case(1200)
    assert case.ending.look()
    assert case.ledger.parts == [500, 500, 200]


def test_a_broker_that_comes_back_soon_is_waited_for() -> None:
    case = Case()
    case.ledger.failures = MOST_FAILURES - 1
    assert [case.ending.look() for _ in range(MOST_FAILURES)] == [False] * (MOST_FAILURES - 1) + [True]
    assert len(case.window) == 0


def test_a_broker_that_stays_away_ends_the_wait() -> None:
    case = Case()
    case.ledger.failures = 1000
    assert [case.ending.look() for _ in range(MOST_FAILURES)] == [False] * (MOST_FAILURES - 1) + [True]


def test_only_failures_in_a_row_mean_that_the_broker_stays_away() -> None:
    case = Case()
    case.ledger.held = {"1"}
    for _ in range(3):
        case.ledger.failures = MOST_FAILURES - 1
        assert [case.ending.look() for _ in range(MOST_FAILURES)] == [False] * MOST_FAILURES


def test_it_stops_feeding_first_and_says_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending_module, "LOOK_S", 0.001)
    case = Case()
    case.ledger.held = {"1"}
    assert not case.ending.is_over
    case.ending.start()
    wait_until(lambda: len(case.window) == 1, "the others are taken back")
    assert case.stopped == 1
    assert not case.ending.is_over
    case.window.remove("1")
    wait_until(lambda: case.ending.is_over, "it is over")
    assert case.ending.end is End.STOPPED
