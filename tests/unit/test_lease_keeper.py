"""Renewing leases: what passed on is dropped, and nothing but a stop ends the thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
import redis

from keyfleet.ledger import Transitions
from keyfleet_workers import lease_keeper as lease_keeper_module
from keyfleet_workers.dispatch import held as held_module
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.lease_keeper import LeaseKeeper


class Ledger:
    """Renews every lease but those that passed on."""

    def __init__(self) -> None:
        self.passed_on: set[str] = set()
        self.renewed: list[tuple[str, str]] = []
        self.errors: list[Exception] = []
        self.was_asked = threading.Semaphore(0)

    def renew(self, queue: str, taken: list[tuple[str, str]]) -> list[bool]:
        self.was_asked.release()
        if self.errors:
            raise self.errors.pop(0)
        self.renewed += [(queue, key) for key, _ in taken]
        return [key not in self.passed_on for key, _ in taken]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (lease_keeper_module, held_module):
        monkeypatch.setattr(module, "elapsed_s", clock)
    return clock


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def held(clock: Clock) -> HeldRequests:
    held = HeldRequests(30.0)
    for queue, key in (("a", "1"), ("a", "2"), ("b", "3")):
        held.hold(queue, key, "token", 100.0)
    return held


@pytest.fixture
def keeper(ledger: Ledger, held: HeldRequests) -> Iterator[LeaseKeeper]:
    keeper = LeaseKeeper(cast(Transitions, ledger), held, 0.003)
    yield keeper
    keeper.stop()


def test_leases_stand_for_their_whole_time_again_from_when_the_server_was_asked(
    keeper: LeaseKeeper, ledger: Ledger, held: HeldRequests, clock: Clock
) -> None:
    clock.now_s = 120.0
    keeper.renew()
    assert sorted(ledger.renewed) == [("a", "1"), ("a", "2"), ("b", "3")]
    clock.now_s = 149.9
    assert all(held.stands(*one) for one in (("a", "1", "token"), ("a", "2", "token"), ("b", "3", "token")))
    clock.now_s = 150.1
    assert not held.stands("a", "1", "token")


def test_a_lease_that_passed_on_is_dropped_so_that_its_request_is_not_sent(
    keeper: LeaseKeeper, ledger: Ledger, held: HeldRequests
) -> None:
    ledger.passed_on = {"2"}
    keeper.renew()
    assert not held.stands("a", "2", "token")
    assert held.stands("a", "1", "token")
    assert len(held) == 2


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), ValueError("unheard of")])
def test_no_error_ends_the_renewing(
    keeper: LeaseKeeper, ledger: Ledger, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.errors = [error]
    keeper.start()
    for _ in range(4):
        assert ledger.was_asked.acquire(timeout=10.0)
    assert ledger.renewed
    assert "renew" in caplog.text


def test_a_keeper_that_was_stopped_renews_no_more(keeper: LeaseKeeper, ledger: Ledger) -> None:
    keeper.start()
    assert ledger.was_asked.acquire(timeout=10.0)
    keeper.stop()
    thread: Any = keeper._thread
    thread.join(10.0)
    assert not thread.is_alive()
