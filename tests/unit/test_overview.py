"""The overview of a fleet: keys with and without workers, queues and why they wait, jobs, and what may be done."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import Cost
from keyfleet.jobs import pause_job
from keyfleet_workers.holds import Holds, KeyState, pool_scope
from keyfleet_workers.key_views import StateView
from keyfleet_workers.overview import KeyActions, KeyNotKnown, KeyOverview, Overview, overview_document, read_overview
from keyfleet_workers.worker_status import STATUS_LIFE_MS
from support.housekeeping_case import FLEET, SECRET, HousekeepingCase

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def client(case: HousekeepingCase) -> redis.Redis:
    return case.client


@pytest.fixture
def case(housekeeping: HousekeepingCase) -> HousekeepingCase:
    housekeeping.accept("a1", 3)
    return housekeeping


@pytest.fixture
def actions(client: redis.Redis) -> KeyActions:
    return KeyActions(client, FLEET, declare_flags=False)


def look(case: HousekeepingCase) -> Overview:
    case.beat(says_status=True)
    return read_overview(case.client, FLEET)


def key_of(overview: Overview, name: str = "one") -> KeyOverview:
    (key,) = (key for key in overview.keys if key.name == name)
    return key


def test_a_key_has_its_limits_with_what_is_used_and_its_workers(case: HousekeepingCase) -> None:
    quota = case.binding.quota("a1")
    case.storage.reserve(quota.limits, [quota.costs(Cost(25))])
    key = key_of(look(case))
    (of_key,) = key.quotas
    assert (key.state, key.workers, key.models, key.slots) == ("ready", {"host": 1}, ("a*",), 4)
    assert (of_key.label, [(limit.unit, limit.used, limit.amount) for limit in of_key.limits]) == (
        "a*",
        [("requests", 1, 60), ("tokens", 25, 100)],
    )
    assert key.errors == {"rate_limited": 2}


def test_holds_are_told_as_they_stand_those_of_quotas_and_of_ways_too(case: HousekeepingCase) -> None:
    (pool,) = case.binding.quota("a1").pools
    case.holds.set(pool_scope(pool.name), KeyState.RESTING, "per day", 9000)
    case.holds.set(case.scopes.way, KeyState.UNREACHABLE, "no route", 5000)
    key = key_of(look(case))
    assert key.state == "unreachable"
    assert {(state.state, state.host, state.pool, state.rest_s) for state in key.states} == {
        (KeyState.UNREACHABLE, "host", None, 5.0),
        (KeyState.RESTING, None, pool.name, 9.0),
    }
    (of_key,) = key.quotas
    assert of_key.state is not None
    assert of_key.state.reason == "per day"


def test_the_way_from_a_host_that_does_not_serve_the_key_is_told_and_does_not_count(case: HousekeepingCase) -> None:
    key = replace(key_of(look(case)), states=(StateView(KeyState.UNREACHABLE, "no route", 5.0, "elsewhere"),))
    assert (key.state, key.gravest) == ("ready", None)
    both = replace(key, workers={"host": 1, "elsewhere": 1})
    assert both.state == "ready"
    assert replace(both, workers={"elsewhere": 2}).state == "unreachable"


def test_who_disables_again_gives_a_new_reason_and_the_key_is_never_free_in_between(
    case: HousekeepingCase, actions: KeyActions, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(case)
    monkeypatch.setattr(Holds, "lift", None)
    for reason in ("one reason", "another"):
        actions.disable("one", reason)
        gravest = key_of(look(case)).gravest
        assert gravest is not None
        assert gravest.reason == reason


def test_a_key_that_is_configured_and_that_nobody_serves_is_told(case: HousekeepingCase) -> None:
    case.client.zadd(redis_keys.configured(FLEET), {"lonely": case.clock.now_ms + 1000})
    overview = look(case)
    assert overview.without_worker == ["lonely"]
    assert key_of(overview, "lonely").state == "no_worker"
    case.clock.advance_ms(1001)
    assert [key.name for key in look(case).keys] == ["one"]


def test_a_disabled_key_is_told_as_such_when_its_workers_have_gone(case: HousekeepingCase, actions: KeyActions) -> None:
    look(case)
    actions.disable("one", "too\n expensive")
    case.clock.advance_ms(STATUS_LIFE_MS + 1)
    key = key_of(read_overview(case.client, FLEET))
    assert (key.state, key.workers) == ("disabled", {})
    assert key.gravest is not None
    assert (key.gravest.reason, key.gravest.rest_s) == ("too expensive", None)
    assert actions.enable("one")
    assert not actions.enable("one")
    assert key_of(read_overview(case.client, FLEET)).state == "no_worker"
    assert case.client.exists(redis_keys.called_back(FLEET, "one"))


def test_a_probe_needs_a_worker(case: HousekeepingCase, actions: KeyActions) -> None:
    look(case)
    assert actions.probe("one")
    assert case.client.exists(redis_keys.probe_wanted(FLEET, "one"))
    case.clock.advance_ms(STATUS_LIFE_MS + 1)
    assert not actions.probe("one")
    for act in (actions.enable, actions.probe):
        with pytest.raises(KeyNotKnown, match="no worker has served a key named other yet"):
            act("other")


def test_a_queue_says_since_when_and_why_it_waits(case: HousekeepingCase) -> None:
    case.clock.advance_ms(5_000)
    case.accept("b1", 1)
    case.waits.note("a1", "60 requests per 60 s", 30.0)
    first, second = look(case).queues
    assert (first.name, first.ready_bulk, first.waiting, first.oldest_s, first.keys) == ("a1", 3, 3, 5.0, 1)
    assert first.why == "60 requests per 60 s"
    assert first.wait_s == pytest.approx(30.0, abs=1.0)
    assert (second.keys, second.wait_s) == (0, None)
    assert "no key can serve b1 now: one doesn't serve this model" in second.why
    case.client.delete(redis_keys.workers(FLEET))
    assert read_overview(case.client, FLEET).queues[0].why.startswith("no worker is running")


def test_a_queue_whose_jobs_are_all_paused_says_so_and_one_of_which_some_are_why_the_others_wait(
    case: HousekeepingCase,
) -> None:
    case.ledger.open(begins=True)
    pause_job(case.client, FLEET, "job", declare_flags=False)
    (queue,) = look(case).queues
    assert (queue.paused, queue.delayed, queue.waiting, queue.wait_s) == (3, 0, 3, None)
    assert queue.why == "its jobs are paused; `keyfleet jobs resume` lets them go on"
    case.accept("a1", 4)
    case.waits.note("a1", "60 requests per 60 s", 30.0)
    (queue,) = look(case).queues
    assert (queue.paused, queue.ready_bulk, queue.why) == (3, 1, "60 requests per 60 s")


def test_of_a_queue_whose_requests_are_all_in_backoff_that_is_said_and_for_how_long(case: HousekeepingCase) -> None:
    keys = redis_keys.QueueKeys(FLEET, "a1")
    for number, due_s in enumerate((30, 20, 600)):
        case.client.zrem(keys.ready_bulk, f"job:{number}")
        case.client.zadd(keys.delayed, {f"job:{number}": case.clock.now_ms + due_s * 1000})
    (queue,) = look(case).queues
    assert (queue.delayed, queue.why, queue.wait_s) == (3, "in backoff after failed attempts", 20.0)


def test_of_a_queue_in_which_nothing_waits_nothing_is_said(case: HousekeepingCase) -> None:
    for number in range(3):
        case.abandon("a1", str(number))
    (queue,) = look(case).queues
    assert (queue.running, queue.waiting, queue.oldest_s, queue.why, queue.wait_s) == (3, 0, None, "", 0.0)


def test_a_job_has_its_progress_and_the_time_that_it_will_take(case: HousekeepingCase) -> None:
    case.ledger.open(begins=True)
    case.ledger.say_alive(total=12)
    case.client.hset(redis_keys.job(FLEET, "job"), "succeeded", "2")
    case.clock.advance_ms(4_000)
    (job,) = look(case).jobs
    assert (job.state.value, job.total, job.ended, job.requests_per_s, job.left_s) == ("running", 12, 2, 0.5, 20.0)
    pause_job(case.client, FLEET, "job", declare_flags=False)
    (job,) = look(case).jobs
    assert (job.state.value, job.requests_per_s, job.left_s) == ("paused", None, None)


def test_the_document_can_be_written_and_holds_no_secret(case: HousekeepingCase) -> None:
    case.ledger.open(begins=True)
    case.holds.set(case.scopes.way, KeyState.UNREACHABLE, "no route", 5000)
    document = overview_document(look(case))
    text = json.dumps(document)
    assert set(document) == {"fleet", "now_ms", "keys", "queues", "jobs"}
    assert SECRET not in text


def test_of_an_empty_server_there_is_nothing_to_tell(stand_in: StandIn) -> None:
    overview = read_overview(stand_in.client(), FLEET)
    assert (overview.keys, overview.queues, overview.jobs) == ((), (), ())
