"""Keeping leases of keys alive: when they are renewed, given back, and taken to be lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import redis

from keyfleet_workers.key_leases import KeyLease, KeyLeases
from keyfleet_workers.lease_upkeep import AGAIN_S, LeaseUpkeep

LEASE_S = 30.0
A, B = KeyLease("a", "holder-1", 1), KeyLease("b", "holder-2", 0)


class Recorded(KeyLeases):
    """Stands for the fleet's leases: records what is asked; leases in `gone` have passed to others."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[KeyLease]]] = []
        self.gone: set[KeyLease] = set()
        self.is_away = False
        self.configured: list[str] = []

    def tell_configured(self, key_names: Sequence[str]) -> None:
        self.configured += key_names

    def renew(self, leases: object) -> list[bool]:
        assert isinstance(leases, list)
        self._ask("renew", leases)
        return [lease not in self.gone for lease in leases]

    def give_back(self, leases: object) -> None:
        assert isinstance(leases, list)
        if leases:
            self._ask("give back", leases)

    def _ask(self, what: str, leases: list[KeyLease]) -> None:
        if self.is_away:
            raise redis.ConnectionError
        self.asked.append((what, leases))


class Kept:
    """An upkeep on a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.leases = Recorded()
        self.upkeep = LeaseUpkeep(self.leases, LEASE_S, lambda: self.now_s)

    def look(self, *held: KeyLease) -> frozenset[KeyLease]:
        self.leases.asked.clear()
        return self.upkeep.look(frozenset(held), ["a", "b"])


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_which_keys_are_configured_is_told_whenever_leases_are_renewed(kept: Kept) -> None:
    kept.look(A)
    kept.look(A)
    assert kept.leases.configured == ["a", "b"]
    kept.now_s = LEASE_S / 3
    kept.look(A)
    assert kept.leases.configured == ["a", "b"] * 2


def test_leases_are_made_known_at_once_and_renewed_three_times_in_their_life(kept: Kept) -> None:
    kept.look(A, B)
    assert kept.leases.asked == [("renew", [A, B])]
    kept.now_s = LEASE_S / 3 - 0.1
    kept.look(A, B)
    assert kept.leases.asked == []
    kept.now_s = LEASE_S / 3
    kept.look(A, B)
    assert kept.leases.asked == [("renew", [A, B])]


def test_a_lease_that_nobody_needs_is_given_back_at_once(kept: Kept) -> None:
    kept.look(A, B)
    kept.look(B)
    assert kept.leases.asked[0] == ("give back", [A])
    kept.look()
    assert kept.leases.asked[0] == ("give back", [B])
    kept.look()
    assert kept.leases.asked == []


def test_a_lease_that_went_to_others_is_lost_and_never_given_back(kept: Kept) -> None:
    kept.look(A, B)
    kept.now_s = LEASE_S / 3
    kept.leases.gone = {A}
    assert kept.look(A, B) == {A}
    assert kept.look(B) == frozenset()
    assert kept.leases.asked == []


def test_while_the_server_is_away_leases_stand_and_it_is_asked_once_a_second(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.look(A)
    kept.leases.is_away = True
    for _ in range(3):
        kept.now_s += LEASE_S
        assert kept.look(A) == frozenset()
    assert len(caplog.records) == 1
    kept.leases.is_away = False
    kept.now_s += AGAIN_S / 2
    kept.look(A)
    assert kept.leases.asked == []
    kept.now_s += AGAIN_S
    kept.look(A)
    assert kept.leases.asked == [("renew", [A])]


def test_what_could_not_be_given_back_is_given_back_later(kept: Kept) -> None:
    kept.look(A)
    kept.leases.is_away = True
    kept.look()
    kept.leases.is_away = False
    kept.now_s += AGAIN_S
    kept.look()
    assert kept.leases.asked[0] == ("give back", [A])
