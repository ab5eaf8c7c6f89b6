"""Holds: what must rest, for all hosts, on a stand-in server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet import redis_keys
from keyfleet_workers.holds import RELAPSE_MS, Holds, KeyScopes, KeyState

if TYPE_CHECKING:
    from support.stand_in import ServerClock, StandIn

SCOPE = "key:abc:refused"


@pytest.fixture
def client(stand_in: StandIn) -> redis.Redis:
    return stand_in.client()


@pytest.fixture
def holds(client: redis.Redis) -> Holds:
    return Holds(client, declare_flags=False)


@pytest.fixture
def clock(stand_in: StandIn) -> ServerClock:
    return stand_in.clock


def test_a_hold_stands_until_its_end(holds: Holds, clock: ServerClock) -> None:
    assert holds.set(SCOPE, KeyState.COOLING, "too many requests", 1500)
    (hold,) = holds.read([SCOPE])
    assert (hold.scope, hold.state, hold.reason, hold.rest_ms) == (SCOPE, KeyState.COOLING, "too many requests", 1500)
    assert hold.since_ms == clock.now_ms
    assert hold.describe() == "cooling: too many requests"
    clock.advance_ms(1501)
    assert holds.read([SCOPE]) == []


def test_the_longest_end_wins(holds: Holds) -> None:
    assert holds.set(SCOPE, KeyState.COOLING, "first", 2000)
    assert not holds.set(SCOPE, KeyState.COOLING, "shorter", 1000)
    assert holds.set(SCOPE, KeyState.RESTING, "longer", 90_000)
    assert not holds.set(SCOPE, KeyState.COOLING, "shorter", 5000)
    (hold,) = holds.read([SCOPE])
    assert (hold.state, hold.reason) == (KeyState.RESTING, "longer")
    assert hold.rest_ms == pytest.approx(90_000, abs=10)


def test_one_without_an_end_beats_every_end(holds: Holds) -> None:
    holds.set(SCOPE, KeyState.COOLING, "a while", 3_600_000)
    assert holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert not holds.set(SCOPE, KeyState.COOLING, "a while", 7_200_000)
    (hold,) = holds.read([SCOPE])
    assert (hold.state, hold.rest_ms) == (KeyState.REVOKED, None)


def test_a_hold_that_is_prolonged_keeps_the_time_since_which_it_stands(holds: Holds, clock: ServerClock) -> None:
    began_ms = clock.now_ms
    holds.set(SCOPE, KeyState.UNREACHABLE, "no route", 1000)
    clock.advance_ms(800)
    holds.set(SCOPE, KeyState.UNREACHABLE, "no route", 2000)
    assert holds.read([SCOPE])[0].since_ms == began_ms
    clock.advance_ms(2001)
    holds.set(SCOPE, KeyState.UNREACHABLE, "no route", 1000)
    assert holds.read([SCOPE])[0].since_ms == clock.now_ms


def test_what_a_probe_lifts_goes_on_where_it_is_set_again_soon(
    holds: Holds, client: redis.Redis, clock: ServerClock
) -> None:
    began_ms = clock.now_ms
    for relapses in range(3):
        assert holds.set(SCOPE, KeyState.REVOKED, "no", None)
        (hold,) = holds.read([SCOPE])
        assert hold.since_ms == began_ms
        clock.advance_ms(3_600_000)
        assert holds.has_relapsed(SCOPE) is (relapses > 0), "that is known as long as the hold stands"
        holds.lift_after_probe(hold)
        assert holds.read([SCOPE]) == []
        clock.advance_ms(RELAPSE_MS - 1)
    clock.advance_ms(2)
    holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert holds.read([SCOPE])[0].since_ms == clock.now_ms
    assert not holds.has_relapsed(SCOPE)


def test_a_relapse_is_told_from_a_first_time_until_it_is_lifted_by_hand(holds: Holds) -> None:
    holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert not holds.has_relapsed(SCOPE)
    holds.lift_after_probe(*holds.read([SCOPE]))
    holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert holds.has_relapsed(SCOPE)
    holds.lift(SCOPE)
    holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert not holds.has_relapsed(SCOPE)


def test_a_pause_is_no_relapse(holds: Holds, clock: ServerClock) -> None:
    holds.set(SCOPE, KeyState.REVOKED, "no", None)
    holds.lift_after_probe(*holds.read([SCOPE]))
    clock.advance_ms(1000)
    holds.set(SCOPE, KeyState.COOLING, "a while", 500)
    assert holds.read([SCOPE])[0].since_ms == clock.now_ms


def test_a_probe_that_lifts_keeps_its_turn(holds: Holds, clock: ServerClock) -> None:
    holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert holds.claim_probe(SCOPE, 60_000)
    holds.lift_after_probe(*holds.read([SCOPE]))
    assert not holds.claim_probe(SCOPE, 60_000)
    clock.advance_ms(60_001)
    assert holds.claim_probe(SCOPE, 60_000)


def test_lifting_by_hand_ends_it_and_gives_the_next_probe_free(holds: Holds) -> None:
    holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert holds.claim_probe(SCOPE, 60_000)
    assert not holds.claim_probe(SCOPE, 60_000)
    assert holds.lift(SCOPE, "key:abc:credit") == 1
    assert holds.read([SCOPE]) == []
    assert holds.claim_probe(SCOPE, 60_000)


def test_a_probe_is_one_hosts_turn_at_a_time(holds: Holds, clock: ServerClock) -> None:
    assert [holds.claim_probe(SCOPE, 15_000) for _ in range(3)] == [True, False, False]
    clock.advance_ms(15_001)
    assert holds.claim_probe(SCOPE, 15_000)


def test_of_several_scopes_those_that_stand_are_read_in_order(holds: Holds) -> None:
    scopes = KeyScopes("abc", None, "host").all()
    holds.set(scopes[2], KeyState.OUT_OF_CREDIT, "empty", None)
    holds.set(scopes[0], KeyState.DISABLED, "by hand", None)
    assert [hold.state for hold in holds.read(scopes)] == [KeyState.DISABLED, KeyState.OUT_OF_CREDIT]


def test_keys_of_one_group_share_their_credit_and_nothing_else() -> None:
    first, second = KeyScopes("abc", "org/1", "host"), KeyScopes("def", "org/1", "host")
    assert set(first.all()) & set(second.all()) == {first.credit}
    assert KeyScopes("abc", None, "host").credit != KeyScopes("def", None, "host").credit


def test_what_one_project_may_spend_is_no_matter_of_its_group() -> None:
    first, second = KeyScopes("abc", "org", "host"), KeyScopes("def", "org", "host")
    assert first.own_credit in first.all()
    assert first.own_credit not in second.all()
    alone = KeyScopes("abc", None, "host")
    assert (alone.credit, len(alone.all())) == (alone.own_credit, len(set(alone.all())))


def test_only_the_way_is_a_matter_of_the_host() -> None:
    here, there = KeyScopes("abc", None, "here"), KeyScopes("abc", None, "there")
    assert set(here.all()) ^ set(there.all()) == {here.way, there.way}


@pytest.mark.parametrize("text", ["", "revoked", "revoked soon no", "unheard_of 1 no"])
def test_what_another_version_wrote_is_passed_over(holds: Holds, client: redis.Redis, text: str) -> None:
    client.set(redis_keys.hold(SCOPE), text)
    assert holds.read([SCOPE]) == []


def test_a_server_that_is_away_is_logged_with_the_state(
    holds: Holds, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(holds, "_script", fail)
    assert not holds.set(SCOPE, KeyState.REVOKED, "no", None)
    assert "revoked" in caplog.text
