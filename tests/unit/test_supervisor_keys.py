"""The supervisor follows what is configured and leased, with real processes of trivial workers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.events import wait_until
from support.supervised import SupervisedPlace, is_alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SupervisedPlace]:
    place = SupervisedPlace(tmp_path)
    yield place
    place.close()


def test_a_key_that_is_added_gets_workers_and_one_that_is_removed_loses_its_own(place: SupervisedPlace) -> None:
    place.write_keys({"a": {}, "b": {}})
    place.start()
    wait_until(lambda: place.alive("a") and place.alive("b"), "the workers have started")
    (before,) = place.alive("a")
    place.write_keys({"a": {}, "c": {"workers": 2}})
    wait_until(lambda: len(place.alive("c")) == 2 and not place.alive("b"), "the workers are those that are configured")
    assert place.alive("a") == [before], "a key that stayed as it was kept its worker"


def test_a_key_that_was_changed_gets_a_new_worker_while_the_old_one_finishes(place: SupervisedPlace) -> None:
    place.write_keys({"a": {"behaviour": "stays", "timeout_s": 1.0}})
    place.start()
    wait_until(lambda: place.alive("a"), "the worker has started")
    (old,) = place.alive("a")
    place.write_keys({"a": {"timeout_s": 2.0}})
    wait_until(lambda: len(place.alive("a")) == 2, "a new one has started beside the old")
    (new,) = set(place.alive("a")) - {old}
    wait_until(lambda: place.mark("a", old) == "1.0 SIGTERM", "the old one was told to finish")
    assert place.mark("a", new) == "2.0"


def test_more_and_fewer_workers_of_a_key_come_and_go(place: SupervisedPlace) -> None:
    place.write_keys({"a": {"workers": 1}})
    place.start()
    wait_until(lambda: len(place.alive("a")) == 1, "one has started")
    place.write_keys({"a": {"workers": 3}})
    wait_until(lambda: len(place.alive("a")) == 3, "there are three")
    place.write_keys({"a": {"workers": 1}})
    wait_until(lambda: len(place.alive("a")) == 1, "there is one again")


def test_a_key_whose_configuration_was_wrong_is_tried_again_once_it_is_changed(place: SupervisedPlace) -> None:
    place.write_keys({"a": {"behaviour": "is_misconfigured"}, "b": {}})
    one = place.start()
    wait_until(lambda: place.lives("a") and not place.alive("a"), "the worker has ended")
    place.write_keys({"a": {"timeout_s": 2.0}, "b": {}})
    wait_until(lambda: place.alive("a"), "it has started again")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0, "what was wrong has been put right"


def test_a_hang_up_replaces_every_worker_by_a_new_one(place: SupervisedPlace) -> None:
    place.write_keys({"a": {}, "b": {}})
    one = place.start()
    wait_until(lambda: place.alive("a") and place.alive("b"), "the workers have started")
    before = place.alive("a") + place.alive("b")
    one.signal(signal.SIGHUP)
    wait_until(lambda: not any(is_alive(pid) for pid in before), "the old ones have left")
    wait_until(lambda: place.alive("a") and place.alive("b"), "there are new ones")
    assert not one.has_ended()


def test_a_hang_up_without_a_keys_file_says_that_there_is_nothing_to_read(place: SupervisedPlace) -> None:
    place.write_keys({"a": {}})
    one = place.start(watch=False)
    wait_until(lambda: place.alive("a"), "the worker has started")
    one.signal(signal.SIGHUP)
    wait_until(lambda: "the keys come from the environment" in one.errors.read_text(), "it says so")
    assert len(place.lives("a")) == 1


def test_a_worker_of_a_named_key_waits_for_its_key_to_come_back(place: SupervisedPlace) -> None:
    place.write_keys({"a": {}, "b": {}})
    one = place.start(assignment="a")
    wait_until(lambda: place.alive("a"), "the worker has started")
    place.write_keys({"b": {}})
    wait_until(lambda: not place.alive("a"), "the worker has left")
    assert "no key is left that this worker can serve" in one.errors.read_text()
    place.write_keys({"a": {}, "b": {}})
    wait_until(lambda: place.alive("a"), "there is one again")
    assert not place.lives("b")


def test_the_lease_of_each_worker_is_given_back_as_soon_as_it_takes_nothing_more(place: SupervisedPlace) -> None:
    place.write_keys({"a": {"behaviour": "stays"}, "b": {"workers": 2}})
    one = place.start()
    wait_until(lambda: place.leases == ["a", "b", "b"], "the leases are held")
    wait_until(lambda: place.alive("a"), "the one that stays has begun")
    one.signal(signal.SIGTERM)
    wait_until(lambda: place.leases == [], "they are given back")
    assert place.alive("a"), "which finishes its calls"
    one.signal(signal.SIGTERM)
    assert one.wait() == 0


def test_a_worker_whose_key_is_set_aside_makes_way_for_another_key(place: SupervisedPlace) -> None:
    place.supervise({"a": "is_set_aside", "b": "until_told"}, assignment="one")
    wait_until(lambda: place.alive("b"), "the other key is served")
    wait_until(lambda: place.leases == ["b"], "the lease of the first is given back")
    assert len(place.lives("a")) == 1


def test_a_worker_that_stays_with_its_key_is_started_again_when_it_is_set_aside(place: SupervisedPlace) -> None:
    place.supervise({"a": "is_set_aside"})
    wait_until(lambda: len(place.lives("a")) >= 3, "it has started again and again")


def test_a_worker_whose_lease_was_lost_leaves_and_another_is_started_for_what_is_leased_then(
    place: SupervisedPlace,
) -> None:
    place.supervise({"a": "until_told"})
    wait_until(lambda: place.leases == ["a"] and place.alive("a"), "the worker has started")
    (before,) = place.alive("a")
    place.lose_lease("a")
    wait_until(lambda: not is_alive(before) and place.alive("a"), "another has taken its place")
    wait_until(lambda: place.leases == ["a"], "under a lease of its own")
