"""Noticing that the server is another than before, and giving others the time to deal with that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from keyfleet import broker
from keyfleet.broker import SETTLING_S, ServerWatch
from support.housekeeping_case import HousekeepingCase

if TYPE_CHECKING:
    from support.stand_in import StandIn


class Connection:
    """A new connection to a server."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def on_connect(self) -> None:
        """There is nothing to say."""

    def send_command(self, *words: str) -> None:
        assert words == ("INFO", "server")

    def read_response(self) -> bytes:
        return f"# Server\r\nrun_id:{self._run_id}\r\n".encode()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(broker, "elapsed_s", clock)
    return clock


def connect(watch: ServerWatch, run_id: str) -> None:
    connection: Any = Connection(run_id)
    watch.on_connect(connection)


def test_the_first_server_and_the_same_again_are_no_change(clock: Clock) -> None:
    watch = ServerWatch(refuse_first=True)
    for _ in range(2):
        connect(watch, "one")
    assert (watch.run_id, watch.changed, watch.is_settled) == ("one", False, True)


def test_the_first_command_to_a_server_that_was_started_again_is_refused(clock: Clock) -> None:
    watch, told = ServerWatch(refuse_first=True), []
    watch.tell_changes_to(lambda: told.append(watch.run_id))
    connect(watch, "one")
    with pytest.raises(redis.ConnectionError):
        connect(watch, "two")
    connect(watch, "two")
    assert (told, watch.changed, watch.is_settled) == (["two"], True, False)


def test_a_change_is_settled_once_others_have_had_the_time_to_deal_with_it_too(clock: Clock) -> None:
    watch = ServerWatch()
    watch.note_loss()
    watch.dealt_with()
    clock.now_s += SETTLING_S
    assert not watch.is_settled
    clock.now_s += 0.1
    assert watch.is_settled


def test_whoever_has_seen_no_change_waits_for_those_who_may_have(clock: Clock) -> None:
    watch = ServerWatch()
    watch.settle(0.5)
    watch.settle(0.1)
    clock.now_s += 0.4
    assert not watch.is_settled
    clock.now_s += 0.2
    assert watch.is_settled


@pytest.mark.parametrize("may_lose", [True, False])
def test_a_worker_that_comes_soon_after_a_start_of_the_server_lets_others_say_first_what_they_hold(
    stand_in: StandIn, may_lose: bool
) -> None:
    case = HousekeepingCase(stand_in, stand_in.client())
    case.housekeeping.may_lose = may_lose
    connect(case.watch, "fresh")
    assert case.watch.is_settled
    case.beat()
    assert case.watch.is_settled is not may_lose
