"""The reaper: expiries after a silence, requests that kill workers, and tickets that are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import AttemptError, Request
from keyfleet.ledger import Beat, JobLedger, JobOptions, Reaped, Retry, Transitions
from keyfleet.redis_keys import QueueKeys
from keyfleet.ticket_message import BULK, URGENT
from keyfleet_workers.binding import Quota
from keyfleet_workers.dispatch.taker import Taker
from keyfleet_workers.holds import KeyScopes

if TYPE_CHECKING:
    from support.stand_in import ServerClock, StandIn

LEASE_MS = 30_000
SCOPES = KeyScopes("fingerprint", None, "host")
NO_QUOTA = Quota("none", ())


class Ledger:
    """A queue with one job, one worker and its reaper."""

    def __init__(self, stand_in: StandIn) -> None:
        self.clock: ServerClock = stand_in.clock
        self.client: redis.Redis = stand_in.client()
        self.job = JobLedger(self.client, "f", "job", JobOptions(), declare_flags=False)
        self.job.open()
        self.transitions = Transitions(self.client, "f", lease_ms=LEASE_MS, declare_flags=False)
        self.taker = Taker(
            self.client, "f", worker_id="w", key_name="one", scopes=SCOPES, lease_ms=LEASE_MS, declare_flags=False
        )
        self.accepted = 0

    def accept(self, count: int = 1) -> None:
        new = [Request(str(self.accepted + n), "/v1/x", "m", b"{}", 1) for n in range(count)]
        self.accepted += count
        assert all(self.job.accept("q", new))

    def take(self, most: int = 1) -> list[tuple[str, str]]:
        return [(one.key, one.token) for one in self.taker.take("q", NO_QUOTA, most).taken]

    def beat_for(self, duration_ms: int, worker: str = "w") -> Beat:
        """Let time pass under a reaper that never falls silent."""
        beat = self.transitions.tick(worker)
        for _ in range(duration_ms // 250):
            self.clock.advance_ms(250)
            beat = self.transitions.tick(worker)
        return beat

    def reap(self) -> Reaped:
        return self.transitions.reap("q", self.transitions.tick("w"))

    def push_ticket(self, priority: int = BULK) -> None:
        self.client.lpush(redis_keys.tickets("f", "q", priority), b"ticket")


@pytest.fixture
def ledger(stand_in: StandIn) -> Ledger:
    return Ledger(stand_in)


def test_one_worker_at_a_time_owns_the_reaper(ledger: Ledger) -> None:
    assert ledger.transitions.tick("one").owned
    assert not ledger.transitions.tick("two").owned
    assert ledger.transitions.tick("one").owned
    ledger.clock.advance_ms(2501)
    assert ledger.transitions.tick("two").owned
    assert not ledger.transitions.tick("one").owned


def test_a_step_back_of_the_servers_clock_leaves_the_reaper_to_somebody(ledger: Ledger) -> None:
    ledger.transitions.tick("one")
    ledger.clock.advance_ms(-3_600_000)
    assert ledger.transitions.tick("two").owned


def test_after_a_step_back_of_the_servers_clock_leases_expire_after_one_grace(ledger: Ledger) -> None:
    ledger.transitions.tick("w")
    ledger.clock.advance_ms(-3_600_000)
    assert not ledger.transitions.tick("w").may_expire
    assert ledger.beat_for(LEASE_MS).may_expire


def test_nothing_expires_for_one_lease_after_the_first_beat(ledger: Ledger) -> None:
    assert not ledger.transitions.tick("w").may_expire
    assert not ledger.beat_for(LEASE_MS - 250).may_expire
    assert ledger.beat_for(250).may_expire


def test_nothing_expires_for_one_lease_after_a_silence(ledger: Ledger) -> None:
    ledger.beat_for(LEASE_MS)
    ledger.clock.advance_ms(3001)
    assert not ledger.transitions.tick("w").may_expire
    assert not ledger.beat_for(LEASE_MS - 250).may_expire
    assert ledger.beat_for(250).may_expire


def test_an_absence_that_outlasts_half_of_a_short_lease_is_a_silence(ledger: Ledger) -> None:
    lease_ms = 2000
    short = Transitions(ledger.client, "f", lease_ms=lease_ms, declare_flags=False)
    short.tick("w")
    for _ in range(lease_ms // 250):
        ledger.clock.advance_ms(250)
        assert short.tick("w").owned
    assert short.tick("w").may_expire
    ledger.clock.advance_ms(900)
    assert short.tick("another").may_expire
    ledger.clock.advance_ms(1001)
    assert not short.tick("w").may_expire


def test_after_a_start_of_the_server_nothing_is_taken_until_all_have_said_what_they_hold(ledger: Ledger) -> None:
    def settling_ms(run_id: str, worker: str = "w") -> int:
        return ledger.transitions.tick(worker, run_id=run_id, settling_ms=1000).settling_ms

    assert settling_ms("first") == 1000
    ledger.clock.advance_ms(400)
    assert settling_ms("first", "newcomer") == 600
    ledger.clock.advance_ms(600)
    assert settling_ms("first") == settling_ms("first", "newcomer") == 0
    assert settling_ms("second", "newcomer") == settling_ms("second") == 1000
    ledger.clock.advance_ms(-3_600_000)
    assert settling_ms("second") == 0


def test_a_server_that_loses_nothing_needs_no_time_after_its_start(ledger: Ledger) -> None:
    assert ledger.transitions.tick("w", run_id="", settling_ms=1000).settling_ms == 0


def test_a_change_of_owner_is_no_silence(ledger: Ledger) -> None:
    epoch = ledger.beat_for(LEASE_MS, "one").epoch
    ledger.clock.advance_ms(2750)
    assert ledger.transitions.tick("two") == Beat(True, ledger.clock.now_ms, True, epoch)


def test_a_beat_that_is_stale_expires_nothing(ledger: Ledger) -> None:
    ledger.accept()
    ledger.take()
    beat = ledger.beat_for(LEASE_MS + 500)
    ledger.clock.advance_ms(3001)
    assert ledger.transitions.reap("q", beat).expired == 0


def test_an_expired_lease_makes_its_request_ready_in_its_old_place(ledger: Ledger) -> None:
    ledger.accept(3)
    (first, _), _ = ledger.take(2)
    ledger.beat_for(LEASE_MS + 250)
    reaped = ledger.reap()
    assert (reaped.moved, reaped.expired, reaped.given_up) == (2, 2, ())
    assert ledger.take()[0][0] == first


def test_workers_that_end_in_order_with_a_call_under_way_are_not_counted_against_it(ledger: Ledger) -> None:
    ledger.accept()
    ledger.beat_for(LEASE_MS)  # the grace after a silence of the reaper
    for _ in range(5):
        taken = ledger.take()
        assert ledger.transitions.forgive("q", taken) == 1
        assert ledger.take() == []  # its lease stands until it ends
        beat = ledger.beat_for(LEASE_MS + 1000)
        assert ledger.transitions.reap("q", beat).given_up == ()
    assert ledger.transitions.forgive("q", [("job:0", "of another")]) == 0


def test_a_renewed_lease_does_not_expire(ledger: Ledger) -> None:
    ledger.accept()
    taken = ledger.take()
    ledger.beat_for(LEASE_MS - 1000)
    assert ledger.transitions.renew("q", taken) == [True]
    ledger.beat_for(LEASE_MS - 1000)
    assert ledger.reap().expired == 0


def test_after_three_expiries_in_a_row_a_request_is_given_up_to_the_reaper(ledger: Ledger) -> None:
    ledger.accept()
    reaped = Reaped(0, 0, 0, ())
    for _ in range(3):
        assert reaped.given_up == ()
        (taken,) = ledger.take()
        ledger.beat_for(LEASE_MS + 250)
        reaped = ledger.reap()
    ((key, token),) = reaped.given_up
    assert key == "job:0"
    assert token != taken[1]
    assert ledger.transitions.renew("q", [(key, token)]) == [True]
    assert ledger.take() == []


@pytest.mark.parametrize("how", ["handed back", "retried"])
def test_a_worker_that_lived_ends_the_row_of_expiries(ledger: Ledger, how: str) -> None:
    ledger.accept()
    for _ in range(2):
        ledger.take()
        ledger.beat_for(LEASE_MS + 250)
        ledger.reap()
    ((key, token),) = ledger.take()
    if how == "handed back":
        ledger.transitions.hand_back("q", [(key, token)])
    else:
        ledger.transitions.retry("q", [Retry(key, token, 0, (AttemptError(500, "x", "y"),))])
        ledger.reap()
    ledger.take()
    ledger.beat_for(LEASE_MS + 250)
    assert ledger.reap().given_up == ()


def test_a_request_in_backoff_is_ready_when_it_is_due(ledger: Ledger) -> None:
    ledger.accept()
    ((key, token),) = ledger.take()
    ledger.transitions.retry("q", [Retry(key, token, 5000, (AttemptError(500, "x", "y"),))])
    ledger.clock.advance_ms(4999)
    assert ledger.reap().moved == 0
    ledger.clock.advance_ms(1)
    assert ledger.reap().moved == 1
    (taken,) = ledger.taker.take("q", NO_QUOTA, 1).taken
    assert [attempt.code for attempt in taken.attempts] == ["x"]


def test_missing_tickets_are_issued_after_two_seconds(ledger: Ledger) -> None:
    ledger.accept(33)
    assert ledger.reap().lacking_tickets == 0
    ledger.clock.advance_ms(1999)
    assert ledger.reap().lacking_tickets == 0
    ledger.clock.advance_ms(1)
    assert ledger.reap().lacking_tickets == 2
    assert ledger.reap().lacking_tickets == 0


def test_only_what_is_missing_beside_standing_tickets_is_issued(ledger: Ledger) -> None:
    ledger.accept(96)
    ledger.push_ticket(BULK)
    ledger.push_ticket(URGENT)
    ledger.reap()
    ledger.clock.advance_ms(2000)
    assert ledger.reap().lacking_tickets == 1


def test_a_shortage_that_ends_begins_anew(ledger: Ledger) -> None:
    ledger.accept()
    ledger.reap()
    ledger.clock.advance_ms(1500)
    ledger.push_ticket()
    ledger.reap()
    ledger.client.delete(redis_keys.tickets("f", "q", BULK))
    ledger.reap()
    ledger.clock.advance_ms(1500)
    assert ledger.reap().lacking_tickets == 0
    ledger.clock.advance_ms(500)
    assert ledger.reap().lacking_tickets == 1


def test_tickets_are_issued_at_once_for_what_was_moved(ledger: Ledger) -> None:
    ledger.accept()
    ((key, token),) = ledger.take()
    ledger.transitions.retry("q", [Retry(key, token, 0, (AttemptError(500, "x", "y"),))])
    assert ledger.reap().lacking_tickets == 1


def test_an_empty_queue_needs_no_ticket(ledger: Ledger) -> None:
    for _ in range(3):
        assert ledger.reap() == Reaped(0, 0, 0, ())
        ledger.clock.advance_ms(2500)
    assert ledger.client.exists(QueueKeys("f", "q").shortage) == 0
