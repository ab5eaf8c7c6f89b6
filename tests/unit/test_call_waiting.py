"""Calls that wait long: which of them end, and from when their time counts. On a clock that the tests move."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from keyfleet.calls.book import Call, CallBook
from keyfleet.calls.waiting import SAY_S, WaitWatch
from keyfleet.contract import Request
from keyfleet.errors import KeyfleetError, NoKeyServes
from keyfleet.ledger import JobOptions
from keyfleet.running.fleet_status import FleetStatus, KeyStanding, WorkerStatus
from keyfleet.running.local_workers import LocalWorkers

GRACE_S = 10.0


def worker(standing: str = "serves") -> WorkerStatus:
    return WorkerStatus("one", "host", 0, 1, False, {}, (), {}, KeyStanding(), {"m": standing}, models=("other",))


SERVED, UNSERVED, NO_WORKER = FleetStatus((worker(),)), FleetStatus((worker("other"),)), FleetStatus()


class Workers:
    """Workers of the fleet's own."""

    def __init__(self, has_failed: bool) -> None:
        self._has_failed = has_failed

    def has_failed(self) -> bool:
        return self._has_failed

    def last_words(self) -> str:
        return "no such option"


class Case:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.status: FleetStatus | None = UNSERVED
        self.workers: Workers | None = None
        self.taken_back: list[Call] = []
        self.book = CallBook()
        self.watch = WaitWatch(
            self.book,
            lambda: self.status,
            lambda: cast(LocalWorkers | None, self.workers),
            self.taken_back.append,
            grace_s=GRACE_S,
            clock=lambda: self.now_s,
        )

    def add(self, number: int = 1) -> Call:
        call = Call(Request(str(number), "/v1/x", "m", b"{}", 1), JobOptions(), began_s=self.now_s)
        self.book.add(call)
        return call

    def look(self, *, after_s: float = 0.0) -> list[KeyfleetError]:
        """The errors that calls would end with, after some time."""
        self.now_s += after_s
        self.taken_back.clear()
        self.watch.look()
        return [cast("Callable[[], Any]", call.unserved)() for call in self.taken_back]


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_call_ends_when_its_model_has_been_unserved_for_the_grace(case: Case) -> None:
    case.add()
    assert case.look() == []
    assert case.look(after_s=GRACE_S - 0.1) == []
    (error,) = case.look(after_s=0.6)
    assert isinstance(error, NoKeyServes)


def test_a_call_that_waits_for_long_gets_the_whole_grace_once_its_worker_goes(case: Case) -> None:
    case.status = SERVED
    case.add()
    case.look()
    case.status = NO_WORKER
    assert case.look(after_s=100.0) == []
    assert case.look(after_s=GRACE_S - 0.1) == []
    assert len(case.look(after_s=0.6)) == 1


def test_while_nothing_is_known_of_the_workers_no_call_ends(case: Case) -> None:
    case.add()
    case.look()
    case.status = None
    assert case.look(after_s=100.0) == []
    case.status = UNSERVED
    assert case.look(after_s=1.0) == []


def test_own_workers_that_have_not_begun_yet_are_waited_for(case: Case) -> None:
    case.workers, case.status = Workers(has_failed=False), NO_WORKER
    case.add()
    case.look()
    assert case.look(after_s=100.0) == []


def test_where_the_fleets_own_workers_have_ended_calls_say_so_at_once(case: Case) -> None:
    case.workers, case.status = Workers(has_failed=True), NO_WORKER
    case.add()
    (error,) = case.look()
    assert (str(error), getattr(error, "code", "")) == ("the workers have ended: no such option", "workers_ended")


def test_each_call_gets_an_error_of_its_own(case: Case) -> None:
    case.add(1)
    case.add(2)
    case.look()
    first, second = case.look(after_s=GRACE_S)
    assert first is not second


def test_a_model_without_calls_is_forgotten(case: Case) -> None:
    case.add()
    case.look()
    case.book.remove("1")
    case.look(after_s=5.0)
    case.add()
    assert case.look(after_s=GRACE_S - 1.0) == []


def test_it_is_told_once_a_minute_why_calls_wait(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.status = SERVED
    case.add()
    with caplog.at_level(logging.WARNING):
        for _ in range(200):
            case.look(after_s=1.0)
    assert len(caplog.records) == 200 // int(SAY_S)
    assert "calls of m have waited for 60 s: answers take long" in caplog.text
