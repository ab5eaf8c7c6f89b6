"""What a worker without a key of its own does: lease one, keep it, and look for another when it must."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from keyfleet.config import KeyConfig, SecretReference
from keyfleet_workers.key_leases import KeyLease, KeyLeases
from keyfleet_workers.leased_key import LEAVE_OUT_FIRST_S, LEAVE_OUT_LONGEST_S, LOOK_S, LeasedKey
from support.stand_in import StandIn


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def key(name: str, workers: int = 1) -> KeyConfig:
    return KeyConfig(name, SecretReference("${KEY}"), workers=workers)


KEYS = (key("a"), key("b"))


class Fleet:
    """Workers of one fleet on one clock, each leasing for itself."""

    def __init__(self, stand_in: StandIn) -> None:
        client = stand_in.client()
        self.clock = Clock()
        self.leases = KeyLeases(self._connect, "main", lease_ms=30_000, declare_flags=False)
        self.is_away = False
        self._client = client

    def _connect(self) -> redis.Redis:
        if self.is_away:
            raise redis.ConnectionError
        return self._client

    def worker(self, name: str, workers_per_key: int | None = None) -> LeasedKey:
        return LeasedKey(name, self.leases, lambda key: True, workers_per_key, self.clock)


@pytest.fixture
def fleet(stand_in: StandIn) -> Fleet:
    return Fleet(stand_in)


def test_workers_share_out_the_keys_and_one_too_many_stands_by_and_says_so_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    workers = [fleet.worker(name) for name in ("one", "two", "three")]
    assert [worker.wanted(KEYS) for worker in workers] == [{"a": 1}, {"b": 1}, {}]
    for _ in range(3):
        fleet.clock.now_s += LOOK_S
        assert workers[2].wanted(KEYS) == {}
    assert [record.getMessage() for record in caplog.records] == ["standing by: no key is free (a, b served by others)"]


def test_a_lease_is_kept_and_given_to_the_worker_of_its_key(fleet: Fleet) -> None:
    worker = fleet.worker("one")
    worker.wanted(KEYS)
    lease = worker.lease(KEYS[0])
    assert (lease.key_name, lease.most) == ("a", 1)
    assert worker.wanted(KEYS) == {"a": 1}
    assert worker.lease(replace(KEYS[0], timeout_s=5.0)) == lease, "a key that was changed is leased already"
    with pytest.raises(LookupError):
        worker.lease(KEYS[1])


def test_a_key_may_have_as_many_workers_as_it_says_or_as_the_option_says(fleet: Fleet) -> None:
    keys = (key("a", workers=2),)
    found = [fleet.worker(name).wanted(keys) for name in ("one", "two", "three")]
    assert found == [{"a": 1}, {"a": 1}, {}]
    assert fleet.worker("four", workers_per_key=3).wanted(keys) == {"a": 1}


def test_a_worker_that_stands_by_looks_once_a_second_and_takes_what_got_free(fleet: Fleet) -> None:
    first, second = fleet.worker("one"), fleet.worker("two")
    first.wanted(KEYS[:1])
    assert second.wanted(KEYS[:1]) == {}
    fleet.leases.give_back([first.lease(KEYS[0])])
    assert second.wanted(KEYS[:1]) == {}, "it looked again too early"
    fleet.clock.now_s += LOOK_S
    assert second.wanted(KEYS[:1]) == {"a": 1}


def test_a_key_that_was_set_aside_is_left_out_and_another_leased_at_once(fleet: Fleet) -> None:
    worker = fleet.worker("one")
    worker.wanted(KEYS)
    fleet.leases.give_back([worker.lease(KEYS[0])])
    assert worker.set_aside(KEYS[0], lived_s=1.0)
    assert worker.wanted(KEYS) == {"b": 1}


def test_the_time_for_which_a_key_is_left_out_doubles_while_it_stays_unusable(fleet: Fleet) -> None:
    keys = KEYS[:1]
    worker = fleet.worker("one")
    pauses_s = []
    for lived_s in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, LEAVE_OUT_LONGEST_S + 1.0):
        assert worker.wanted(keys) == {"a": 1}
        fleet.leases.give_back([worker.lease(keys[0])])
        worker.set_aside(keys[0], lived_s)
        began_s = fleet.clock.now_s
        while not worker.wanted(keys):
            fleet.clock.now_s += LOOK_S
        pauses_s.append(fleet.clock.now_s - began_s)
    assert pauses_s == [30, 60, 120, 240, 300, 300, LEAVE_OUT_FIRST_S]


def test_a_key_that_workers_are_called_back_to_is_tried_at_once(fleet: Fleet, stand_in: StandIn) -> None:
    keys = KEYS[:1]
    fleet.leases.call_back(["a"])
    stand_in.clock.advance_ms(5000)
    worker = fleet.worker("one")
    worker.wanted(keys)
    fleet.leases.give_back([worker.lease(keys[0])])
    worker.set_aside(keys[0], lived_s=1.0)
    fleet.clock.now_s += LOOK_S
    assert worker.wanted(keys) == {}, "it was called before the key was set aside"
    fleet.clock.now_s += LOOK_S
    fleet.leases.call_back(["a"])
    assert worker.wanted(keys) == {"a": 1}


def test_a_lost_lease_makes_it_look_for_another_key(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    worker = fleet.worker("one")
    worker.wanted(KEYS)
    lease = worker.lease(KEYS[0])
    worker.lost(KeyLease("a", "somebody else's", 1))
    assert worker.wanted(KEYS) == {"a": 1}
    worker.lost(lease)
    fleet.clock.now_s += LOOK_S
    assert worker.wanted(KEYS) == {"b": 1}
    assert "the lease of key a went to others" in caplog.text


def test_a_key_that_is_configured_no_more_is_left_for_another(fleet: Fleet) -> None:
    worker = fleet.worker("one")
    worker.wanted(KEYS)
    fleet.clock.now_s += LOOK_S
    assert worker.wanted(KEYS[1:]) == {"b": 1}


def test_it_leases_only_what_this_host_has_the_secrets_of(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    worker = LeasedKey("one", fleet.leases, lambda key: key.name == "b", clock=fleet.clock)
    assert worker.candidates(KEYS) == KEYS[1:]
    assert worker.wanted(()) == {}
    assert "of no configured key the secret is set on this host" in caplog.text


def test_while_the_broker_is_away_it_goes_on_looking(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    worker = fleet.worker("one")
    fleet.is_away = True
    assert worker.wanted(KEYS) == {}
    assert "the broker doesn't answer (ConnectionError)" in caplog.text
    fleet.is_away = False
    fleet.clock.now_s += LOOK_S
    assert worker.wanted(KEYS) == {"a": 1}


def test_a_lease_whose_answer_was_lost_is_not_a_second_one(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = fleet.worker("one")
    acquire = KeyLeases.acquire

    def answer_lost(*arguments: object) -> None:
        acquire(*arguments)  # type: ignore[arg-type]
        raise redis.ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(KeyLeases, "acquire", answer_lost)
        assert worker.wanted(KEYS) == {}
    fleet.clock.now_s += LOOK_S
    assert worker.wanted(KEYS) == {"a": 1}
    assert fleet.worker("two").wanted(KEYS) == {"b": 1}
