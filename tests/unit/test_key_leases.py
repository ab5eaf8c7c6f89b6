"""Leases of keys in the fleet: who gets which key, how long it lasts, and what becomes of one that ran out."""

from __future__ import annotations

import pytest
import redis

from keyfleet import redis_keys
from keyfleet_workers.key_leases import KeyLease, KeyLeases
from support.stand_in import StandIn

LEASE_MS = 30_000
TEN = [(f"key-{number}", 1) for number in range(10)]


@pytest.fixture
def client(stand_in: StandIn) -> redis.Redis:
    return stand_in.client()


@pytest.fixture
def leases(client: redis.Redis) -> KeyLeases:
    return KeyLeases(lambda: client, "main", lease_ms=LEASE_MS, declare_flags=False)


def key_of(lease: KeyLease | None) -> str | None:
    return lease.key_name if lease else None


def test_ten_workers_lease_ten_different_keys_in_their_order(leases: KeyLeases) -> None:
    found = [key_of(leases.acquire(TEN, f"worker-{number}")) for number in range(11)]
    assert found == [*(name for name, _ in TEN), None]


def test_a_key_may_have_as_many_holders_as_it_is_said_and_the_one_with_the_fewest_is_taken(leases: KeyLeases) -> None:
    candidates = [("a", 2), ("b", 3)]
    found = [key_of(leases.acquire(candidates, f"worker-{number}")) for number in range(6)]
    assert found == ["a", "b", "a", "b", "b", None]


def test_holders_that_were_told_their_key_count_too(leases: KeyLeases) -> None:
    leases.renew([KeyLease("a", "told-1", 0), KeyLease("a", "told-2", 0)])
    assert key_of(leases.acquire([("a", 2), ("b", 1)], "w")) == "b"
    assert leases.acquire([("a", 2), ("b", 1)], "v") is None


def test_a_lease_that_is_not_renewed_frees_the_key(leases: KeyLeases, stand_in: StandIn) -> None:
    leases.acquire([("a", 1)], "gone")
    stand_in.clock.advance_ms(LEASE_MS - 1)
    assert leases.acquire([("a", 1)], "next") is None
    stand_in.clock.advance_ms(1)
    assert key_of(leases.acquire([("a", 1)], "next")) == "a"


def test_a_lease_that_is_renewed_stays(leases: KeyLeases, stand_in: StandIn) -> None:
    lease = leases.acquire([("a", 1)], "alive")
    assert lease is not None
    for _ in range(4):
        stand_in.clock.advance_ms(LEASE_MS - 1)
        assert leases.renew([lease]) == [True]
    assert leases.acquire([("a", 1)], "next") is None


def test_a_lease_that_ran_out_is_lost_once_another_has_the_key(leases: KeyLeases, stand_in: StandIn) -> None:
    late = leases.acquire([("a", 1)], "late")
    assert late is not None
    stand_in.clock.advance_ms(LEASE_MS + 1)
    other = leases.acquire([("a", 1)], "other")
    assert other is not None
    assert leases.renew([late, other]) == [False, True]


def test_a_lease_that_ran_out_or_was_wiped_is_taken_again_while_the_key_is_free(
    leases: KeyLeases, stand_in: StandIn, client: redis.Redis
) -> None:
    lease = leases.acquire([("a", 1)], "late")
    assert lease is not None
    stand_in.clock.advance_ms(LEASE_MS + 1)
    assert leases.renew([lease]) == [True]
    client.flushall()
    assert leases.renew([lease]) == [True]
    assert leases.acquire([("a", 1)], "other") is None


def test_a_lease_that_was_given_back_frees_the_key_at_once_and_no_other(leases: KeyLeases) -> None:
    one, two = leases.acquire([("a", 1)], "one"), leases.acquire([("b", 1)], "two")
    assert one is not None
    assert two is not None
    leases.give_back([one])
    assert key_of(leases.acquire([("a", 1), ("b", 1)], "next")) == "a"
    assert leases.acquire([("a", 1), ("b", 1)], "last") is None


def test_whoever_asks_again_as_the_answer_was_lost_gets_the_same_key(leases: KeyLeases) -> None:
    leases.acquire([("a", 5), ("b", 5)], "w")
    leases.acquire([("b", 5)], "v")
    assert key_of(leases.acquire([("b", 5), ("a", 5)], "w")) == "a"


def test_leases_of_other_fleets_are_others(leases: KeyLeases, client: redis.Redis) -> None:
    leases.acquire([("a", 1)], "w")
    other = KeyLeases(lambda: client, "other", lease_ms=LEASE_MS, declare_flags=False)
    assert key_of(other.acquire([("a", 1)], "w")) == "a"


def test_nothing_is_left_of_keys_that_nobody_serves(leases: KeyLeases, client: redis.Redis, stand_in: StandIn) -> None:
    long = KeyLeases(lambda: client, "main", lease_ms=2 * LEASE_MS, declare_flags=False)
    long.acquire([("a", 2)], "long")
    leases.acquire([("a", 2)], "short")
    stand_in.clock.advance_ms(LEASE_MS + 1)
    assert leases.acquire([("a", 1)], "next") is None, "a shorter lease has cut a longer one"
    stand_in.clock.advance_ms(LEASE_MS)
    assert not client.exists(redis_keys.holders("main", "a"))
    assert leases.acquire([], "w") is None
    assert leases.renew([]) == []
