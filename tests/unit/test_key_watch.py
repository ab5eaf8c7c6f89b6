"""A key that was set aside is probed now and then, and comes back by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet_workers.holds import Hold, Holds, KeyScopes, KeyState
from keyfleet_workers.key_watch import PROBE_FIRST_S, PROBE_LONGEST_S, KeyWatch
from keyfleet_workers.provider import Verdict, VerdictKind

if TYPE_CHECKING:
    from support.stand_in import StandIn

SCOPES = KeyScopes("abc", "org", "host")
WORKS = Verdict(VerdictKind.SUCCESS)


def refused() -> Verdict:
    return Verdict(VerdictKind.REVOKED, "invalid_api_key", "no")


class Host:
    """One host's watch over the key, with a provider that answers probes as it is told to."""

    def __init__(self, stand_in: StandIn, client: redis.Redis, *, may_leave: bool = False) -> None:
        self.clock = stand_in.clock
        self.holds = Holds(client, declare_flags=False)
        self.asked: list[KeyState] = []
        self.asked_again = 0
        """Probes that were told that one was wrong before."""
        self.answer: Verdict | Exception | None = refused()
        self.freed = 0
        self.left = 0
        self.watch = KeyWatch(
            self.holds,
            SCOPES,
            self._ask,
            on_free=self._note_free,
            on_set_aside=self._note_left if may_leave else None,
        )

    def _ask(self, hold: Hold, has_relapsed: bool) -> Verdict | None:
        self.asked.append(hold.state)
        self.asked_again += has_relapsed
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _note_free(self) -> None:
        self.freed += 1

    def _note_left(self) -> None:
        self.left += 1

    def look(self) -> None:
        """One beat; the probe that it may begin has ended after it."""
        self.watch.look(self.clock.now_ms)
        if self.watch._probe is not None:
            self.watch._probe.join(30.0)

    def look_for(self, duration_s: float, step_s: float = 5.0) -> None:
        for _ in range(round(duration_s / step_s)):
            self.clock.advance_ms(round(step_s * 1000))
            self.look()

    def present(self) -> KeyState | None:
        return self.watch.present.state if self.watch.present else None


@pytest.fixture
def client(stand_in: StandIn) -> redis.Redis:
    return stand_in.client()


@pytest.fixture
def host(stand_in: StandIn, client: redis.Redis) -> Host:
    return Host(stand_in, client)


def test_a_key_that_is_ready_is_asked_nothing(host: Host) -> None:
    host.look_for(60)
    assert (host.asked, host.freed, host.present()) == ([], 0, None)


def test_a_revoked_key_is_probed_and_comes_back_by_itself(host: Host) -> None:
    host.look()
    host.holds.set(SCOPES.refused, KeyState.REVOKED, "no", None)
    host.look()
    assert (host.present(), len(host.asked)) == (KeyState.REVOKED, 1)
    host.look_for(PROBE_FIRST_S + 5)
    assert (host.present(), len(host.asked)) == (KeyState.REVOKED, 2)
    host.answer = WORKS
    host.look_for(PROBE_FIRST_S + 10)
    assert (host.present(), host.freed) == (None, 1)


def test_the_longer_it_is_set_aside_the_rarer_are_the_probes(host: Host) -> None:
    host.holds.set(SCOPES.refused, KeyState.REVOKED, "no", None)
    host.look_for(3600, step_s=10)
    first_hour = len(host.asked)
    assert 8 <= first_hour <= 20
    host.look_for(12 * 3600, step_s=60)
    host.asked.clear()
    host.look_for(3600, step_s=10)
    assert len(host.asked) == pytest.approx(3600 / PROBE_LONGEST_S, abs=1)


def test_hosts_take_turns(stand_in: StandIn, client: redis.Redis) -> None:
    hosts = [Host(stand_in, client) for _ in range(3)]
    for each in hosts:
        each.look()
    hosts[0].holds.set(SCOPES.refused, KeyState.REVOKED, "no", None)
    for _ in range(12):
        hosts[0].clock.advance_ms(5000)
        for each in hosts:
            each.look()
    assert 3 <= sum(len(each.asked) for each in hosts) <= 4


def test_who_starts_with_a_key_that_was_set_aside_asks_at_once(stand_in: StandIn, client: redis.Redis) -> None:
    first, second = Host(stand_in, client), Host(stand_in, client)
    first.look()
    first.holds.set(SCOPES.credit, KeyState.OUT_OF_CREDIT, "empty", None)
    first.look()
    second.look()
    assert (first.asked, second.asked) == ([KeyState.OUT_OF_CREDIT], [KeyState.OUT_OF_CREDIT])
    second.look()
    assert len(second.asked) == 1


@pytest.mark.parametrize("answer", [None, redis.ConnectionError("gone"), ValueError("unheard of")])
def test_a_probe_that_could_not_be_made_changes_nothing(host: Host, answer: Exception | None) -> None:
    host.answer = answer
    host.holds.set(SCOPES.credit, KeyState.OUT_OF_CREDIT, "empty", None)
    host.look_for(60)
    assert host.present() is KeyState.OUT_OF_CREDIT
    assert len(host.asked) >= 3


def test_a_key_disabled_by_hand_is_not_asked(host: Host) -> None:
    host.holds.set(SCOPES.disabled, KeyState.DISABLED, "holidays", None)
    host.look_for(120)
    assert (host.asked, host.present()) == ([], KeyState.DISABLED)
    host.holds.lift(SCOPES.disabled)
    host.look()
    assert (host.freed, host.present()) == (1, None)


def test_a_pause_ends_without_being_asked_about(host: Host) -> None:
    host.holds.set(SCOPES.failing, KeyState.COOLING, "http_500", 8000)
    host.look()
    assert host.present() is KeyState.COOLING
    host.look_for(10)
    assert (host.asked, host.freed, host.present()) == ([], 1, None)


def test_of_several_holds_the_gravest_is_told(host: Host) -> None:
    host.holds.set(SCOPES.failing, KeyState.COOLING, "http_500", 8000)
    host.holds.set(SCOPES.way, KeyState.UNREACHABLE, "no route", 20_000)
    host.look()
    assert host.present() is KeyState.UNREACHABLE
    host.holds.set(SCOPES.disabled, KeyState.DISABLED, "by hand", None)
    host.look()
    assert host.present() is KeyState.DISABLED


@pytest.mark.parametrize("state", [KeyState.REVOKED, KeyState.OUT_OF_CREDIT, KeyState.DISABLED])
def test_a_worker_that_may_leave_its_key_does_so_once_it_is_set_aside(
    stand_in: StandIn, client: redis.Redis, state: KeyState
) -> None:
    host = Host(stand_in, client, may_leave=True)
    host.look()
    scope = {KeyState.REVOKED: SCOPES.refused, KeyState.OUT_OF_CREDIT: SCOPES.credit}.get(state, SCOPES.disabled)
    host.holds.set(scope, state, "no", None)
    host.look()
    host.look()
    assert (host.watch.leaves, host.left) == (True, 0) or state is KeyState.DISABLED  # it is told before it is done
    host.look()
    assert host.left >= 1


def test_a_worker_stays_with_a_key_that_only_pauses(stand_in: StandIn, client: redis.Redis) -> None:
    host = Host(stand_in, client, may_leave=True)
    host.holds.set(SCOPES.failing, KeyState.COOLING, "http_500", 8000)
    host.look_for(20)
    assert host.left == 0


def test_a_worker_that_may_leave_asks_first_whether_the_key_works_again(stand_in: StandIn, client: redis.Redis) -> None:
    host = Host(stand_in, client, may_leave=True)
    host.answer = WORKS
    host.holds.set(SCOPES.refused, KeyState.REVOKED, "no", None)
    host.look()
    host.look()
    assert (host.left, host.freed, host.present()) == (0, 1, None)


def relapse(host: Host) -> None:
    """What calls do with a key that a probe has freed wrongly."""
    if host.present() is None:
        host.holds.set(SCOPES.refused, KeyState.REVOKED, "no", None)


def test_a_key_that_probes_free_wrongly_is_probed_as_rarely_as_one_that_they_do_not(host: Host) -> None:
    host.answer = WORKS
    for _ in range(720):
        relapse(host)
        host.look_for(5)
    assert 8 <= len(host.asked) <= 25, "an hour's probes"
    assert host.asked_again >= len(host.asked) - 2
    host.asked.clear()
    for _ in range(720):
        relapse(host)
        host.look_for(5)
    assert len(host.asked) <= 3600 / PROBE_LONGEST_S + 2


def test_a_worker_that_may_leave_leaves_a_key_that_was_freed_wrongly(stand_in: StandIn, client: redis.Redis) -> None:
    host = Host(stand_in, client, may_leave=True)
    host.answer = WORKS
    host.look()
    for _ in range(10):
        relapse(host)
        host.clock.advance_ms(250)
        host.look()
    assert len(host.asked) == 1
    assert host.left >= 1


@pytest.mark.parametrize(
    ("kind", "frees"),
    [
        (VerdictKind.SUCCESS, True),
        (VerdictKind.RATE_LIMITED, True),
        (VerdictKind.FINAL, False),
        (VerdictKind.MODEL_LOST, False),
        (VerdictKind.OUT_OF_CREDIT, False),
    ],
)
def test_an_account_has_credit_again_once_a_call_was_let_through(host: Host, kind: VerdictKind, frees: bool) -> None:
    host.answer = Verdict(kind, "code")
    host.holds.set(SCOPES.credit, KeyState.OUT_OF_CREDIT, "empty", None)
    host.look_for(10)
    assert host.present() is (None if frees else KeyState.OUT_OF_CREDIT)
