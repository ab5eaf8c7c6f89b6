"""What hosts do that share out the keys: together they serve every place, and each about as many as the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.config import KeyConfig, SecretReference
from keyfleet_workers.key_leases import KeyLease, KeyLeases
from keyfleet_workers.lease_upkeep import LeaseUpkeep
from keyfleet_workers.leased_key import LeasedKey
from keyfleet_workers.shared_keys import LOOK_S, SETTLE_S, SharedKeys
from support.stand_in import ServerClock, StandIn

LEASE_S = 30.0


def keys_of(count: int, workers: int = 1) -> tuple[KeyConfig, ...]:
    return tuple(KeyConfig(f"key-{n}", SecretReference("${KEY}"), workers=workers) for n in range(count))


@dataclass
class Host:
    """A supervisor without processes: what it serves, and the upkeep of its leases."""

    shared: SharedKeys
    upkeep: LeaseUpkeep
    serving: list[KeyLease] = field(default_factory=list)

    def look(self, keys: tuple[KeyConfig, ...]) -> None:
        by_name = {key.name: key for key in self.shared.candidates(keys)}
        wanted = self.shared.wanted(tuple(by_name.values()))
        for name in set(wanted) | {lease.key_name for lease in self.serving}:
            here = [lease for lease in self.serving if lease.key_name == name]
            for lease in here[wanted.get(name, 0) :]:
                self.serving.remove(lease)
            self.serving += [self.shared.lease(by_name[name]) for _ in range(wanted.get(name, 0) - len(here))]
        for lease in self.upkeep.look(frozenset(self.serving)):
            self.shared.lost(lease)
            self.serving.remove(lease)


class Fleet:
    """Hosts of one fleet, on one clock."""

    def __init__(self, stand_in: StandIn) -> None:
        self.client = stand_in.client()
        self.server_clock: ServerClock = stand_in.clock
        self.now_s = 1000.0
        self.is_away = False
        self.leases = KeyLeases(self._connect, "main", lease_ms=round(LEASE_S * 1000), declare_flags=False)

    def _connect(self) -> redis.Redis:
        if self.is_away:
            raise redis.ConnectionError
        return self.client

    def host(self, name: str, can_serve: Callable[[KeyConfig], bool] = lambda key: True) -> Host:
        shared = SharedKeys(name, self.leases, can_serve, clock=lambda: self.now_s)
        return Host(shared, LeaseUpkeep(self.leases, LEASE_S, clock=lambda: self.now_s))

    def pass_time(self, for_s: float, hosts: list[Host], keys: tuple[KeyConfig, ...]) -> None:
        for _ in range(round(for_s / LOOK_S)):
            self.now_s += LOOK_S
            self.server_clock.advance_ms(round(LOOK_S * 1000))
            for host in hosts:
                host.look(keys)

    def holders(self, keys: tuple[KeyConfig, ...]) -> list[int]:
        return [self.client.zcard(redis_keys.holders("main", key.name)) for key in keys]  # type: ignore[misc]


@pytest.fixture
def fleet(stand_in: StandIn) -> Fleet:
    return Fleet(stand_in)


def test_one_host_serves_all_keys_the_first_at_once(fleet: Fleet) -> None:
    keys, host = keys_of(10), fleet.host("one")
    host.look(keys)
    assert len(host.serving) == 1
    fleet.pass_time(SETTLE_S, [host], keys)
    assert {lease.key_name for lease in host.serving} == {key.name for key in keys}


def test_as_many_hosts_as_keys_serve_one_each_from_the_start(fleet: Fleet) -> None:
    keys, hosts = keys_of(10), [fleet.host(f"host-{n}") for n in range(10)]
    fleet.pass_time(LOOK_S, hosts, keys)
    assert [len(host.serving) for host in hosts] == [1] * 10
    fleet.pass_time(60, hosts, keys)
    assert [len(host.serving) for host in hosts] == [1] * 10
    assert fleet.holders(keys) == [1] * 10


@pytest.mark.parametrize(("keys", "hosts"), [(10, 3), (3, 5), (40, 7), (7, 2)])
def test_shares_are_even_after_hosts_came_one_after_the_other(fleet: Fleet, keys: int, hosts: int) -> None:
    configured, started = keys_of(keys), list[Host]()
    for number in range(hosts):
        started.append(fleet.host(f"host-{number}"))
        fleet.pass_time(4, started, configured)
    fleet.pass_time(60, started, configured)
    shares = [len(host.serving) for host in started]
    assert sum(shares) == keys
    assert max(shares) - min(shares) <= 1
    assert fleet.holders(configured) == [1] * keys


def test_shares_that_are_even_stay_as_they_are(fleet: Fleet) -> None:
    keys, hosts = keys_of(7), [fleet.host(f"host-{n}") for n in range(3)]
    fleet.pass_time(60, hosts, keys)
    before = [list(host.serving) for host in hosts]
    fleet.pass_time(60, hosts, keys)
    assert [list(host.serving) for host in hosts] == before


def test_a_dead_hosts_share_is_served_by_the_others_within_a_lease(fleet: Fleet) -> None:
    keys, hosts = keys_of(9), [fleet.host(f"host-{n}") for n in range(3)]
    fleet.pass_time(60, hosts, keys)
    fleet.pass_time(LEASE_S + 2 * SETTLE_S, hosts[:2], keys)
    assert sorted(len(host.serving) for host in hosts[:2]) == [4, 5]


def test_a_key_whose_secret_one_host_alone_has_stays_there_and_the_other_says_that_it_can_not_serve_it(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    keys = keys_of(4)
    knowing = fleet.host("knowing")
    other = fleet.host("other", can_serve=lambda key: key.name != "key-3")
    fleet.pass_time(60, [knowing, other], keys)
    assert "key-3" in {lease.key_name for lease in knowing.serving}
    assert [len(knowing.serving), len(other.serving)] == [2, 2]
    said = [record.getMessage() for record in caplog.records]
    assert said.count("not served here, as their secrets aren't set on this host: key-3") == 1


def test_a_key_with_several_workers_is_shared_by_places(fleet: Fleet) -> None:
    keys, hosts = keys_of(2, workers=3), [fleet.host(f"host-{n}") for n in range(2)]
    fleet.pass_time(60, hosts, keys)
    assert [len(host.serving) for host in hosts] == [3, 3]
    assert fleet.holders(keys) == [3, 3]
    assert len({lease.holder for host in hosts for lease in host.serving}) == 6


def test_nobody_is_relieved_who_does_not_share(fleet: Fleet) -> None:
    keys = keys_of(2)
    single = LeasedKey("single", fleet.leases, lambda key: True)
    assert single.wanted(keys[:1]) == {"key-0": 1}
    fleet.leases.renew([KeyLease("key-1", "told", 0)])
    host = fleet.host("sharing")
    fleet.pass_time(10, [host], keys)
    assert host.serving == []


def test_keys_that_are_no_longer_configured_are_let_go(fleet: Fleet) -> None:
    keys, host = keys_of(3), fleet.host("one")
    fleet.pass_time(10, [host], keys)
    fleet.pass_time(2, [host], keys[:1])
    assert [lease.key_name for lease in host.serving] == ["key-0"]
    assert fleet.holders(keys) == [1, 0, 0]


def test_while_the_broker_is_away_every_host_keeps_what_it_serves_and_says_so_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    keys, host = keys_of(3), fleet.host("one")
    fleet.pass_time(10, [host], keys)
    fleet.is_away = True
    fleet.pass_time(10, [host], keys)
    assert len(host.serving) == 3
    said = [record.getMessage() for record in caplog.records if record.name.endswith("shared_keys")]
    assert [text for text in said if "broker" in text] == [
        "keys can't be shared out now: the broker doesn't answer (ConnectionError)"
    ]


def test_after_the_server_has_lost_everything_every_host_keeps_what_it_serves(fleet: Fleet) -> None:
    keys, hosts = keys_of(20), [fleet.host(f"host-{n}") for n in range(5)]
    fleet.pass_time(60, hosts, keys)
    before = [set(host.serving) for host in hosts]
    fleet.client.flushall()
    fleet.pass_time(40, hosts, keys)
    assert [set(host.serving) for host in hosts] == before


def test_a_lease_that_is_not_held_is_not_given(fleet: Fleet) -> None:
    with pytest.raises(LookupError):
        fleet.host("one").shared.lease(keys_of(1)[0])


def test_a_worker_that_ends_since_its_key_is_revoked_stays_with_it(fleet: Fleet) -> None:
    assert not fleet.host("one").shared.set_aside(keys_of(1)[0], 1.0)


def test_taking_over_needs_the_other_to_hold_the_key_still_and_may_be_asked_again(fleet: Fleet) -> None:
    lease = fleet.leases.acquire([("a", 1)], "first:share:0")
    assert lease is not None
    taken = fleet.leases.take_over("a", 1, "first:share:0", "second:share:0")
    assert (
        taken == fleet.leases.take_over("a", 1, "first:share:0", "second:share:0") == KeyLease("a", "second:share:0", 1)
    )
    assert fleet.leases.renew([lease]) == [False]
    assert fleet.leases.take_over("a", 1, "first:share:0", "third:share:0") is None
    assert fleet.leases.holders(["a", "b"]) == {"a": ["second:share:0"], "b": []}
    fleet.server_clock.advance_ms(round(LEASE_S * 1000))
    assert fleet.leases.take_over("a", 1, "second:share:0", "third:share:0") is None, "it ran out"
    assert fleet.leases.holders(["a"]) == {"a": []}
