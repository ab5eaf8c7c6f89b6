"""Housekeeping: queues are found, what was abandoned goes on, and the fleet is told how this worker fares."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import Cost
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet_workers import housekeeping as housekeeping_module
from keyfleet_workers import pace as pace_module
from keyfleet_workers.binding import UNBOUNDED
from keyfleet_workers.holds import Hold, KeyState
from keyfleet_workers.housekeeping import Housekeeping
from keyfleet_workers.provider import Verdict, VerdictKind
from keyfleet_workers.worker_status import CAPACITY_LIFE_MS, LEFT_LIFE_MS, STATUS_LIFE_MS
from support.events import wait_until
from support.housekeeping_case import FLEET, LEASE_MS, SECRET, HousekeepingCase

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def client(case: HousekeepingCase) -> redis.Redis:
    return case.client


@pytest.fixture
def case(housekeeping: HousekeepingCase) -> HousekeepingCase:
    return housekeeping


def test_queues_of_models_that_the_key_serves_are_consumed_from(case: HousekeepingCase) -> None:
    for queue in ("a1", "b1", "a%2F2"):
        case.accept(queue, 1)
    case.beat()
    assert case.consumption.served() == {"a1", "a%2F2"}
    case.accept("a3", 1)
    case.beat()
    assert "a3" in case.consumption.served()


def test_what_is_ready_without_tickets_gets_them_after_two_seconds(case: HousekeepingCase) -> None:
    case.accept("b1", 70)  # whether this worker's key serves it or not
    case.beat()
    case.look_for(1500)
    assert case.tickets == []
    case.look_for(1000)
    assert case.tickets == ["b1"] * 3


def test_one_worker_at_a_time_reaps(case: HousekeepingCase, stand_in: StandIn, client: redis.Redis) -> None:
    other = HousekeepingCase(stand_in, client, "two")
    case.accept("a1", 1)
    case.beat()
    for _ in range(10):
        case.clock.advance_ms(500)
        case.beat()
        other.beat()
    assert case.tickets
    assert other.tickets == []


def test_a_request_whose_worker_is_gone_goes_on(case: HousekeepingCase) -> None:
    case.accept("a1", 1)
    case.look_for(LEASE_MS + 1000)  # the grace after a silence of the reaper
    case.abandon("a1", "0")
    case.look_for(LEASE_MS - 1000)
    assert case.ledger.depths("a1")["running"] == 1
    case.look_for(2000)
    assert case.ledger.depths("a1") == {"ready": 1, "running": 0, "delayed": 0}


def test_a_request_that_three_workers_were_lost_with_is_given_up(case: HousekeepingCase) -> None:
    case.accept("a1", 1)
    case.look_for(LEASE_MS + 1000)
    for _ in range(3):
        assert case.finished == []
        case.abandon("a1", "0")
        case.look_for(LEASE_MS + 1000)
    ((queue, finish),) = case.finished
    assert (queue, finish.key, finish.outcome.ok) == ("a1", "job:0", False)
    assert finish.outcome.errors[-1].code == "workers_lost"
    assert case.transitions.finish(queue, "job", [finish]) == [1]  # its token is good


def test_the_status_says_what_a_producer_reads(case: HousekeepingCase) -> None:
    case.accept("a1", 1)
    quota = case.binding.quota("a1")
    case.storage.reserve(quota.limits, [quota.costs(Cost(25))])
    case.waits.note("a1", "60 requests per 60 s", 30.0)
    case.beat(says_status=True)
    (worker,) = read_fleet_status(case.client, FLEET).workers
    assert (worker.key_name, worker.host, worker.in_flight, worker.slots) == ("one", "host", 0, 4)
    assert worker.totals == {"succeeded": 3}
    assert worker.waits["a1"][0] == "60 requests per 60 s"
    assert [(limit.unit, limit.amount, limit.window_s, limit.used) for limit in worker.limits] == [
        ("requests", 60, 60, 1),
        ("tokens", 100, 60, 25),
    ]


def test_the_status_says_what_was_done_in_the_last_minute_and_what_went_wrong(
    case: HousekeepingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(pace_module, "elapsed_s", lambda: now_s)
    told = []
    for sent, tokens in ((2, 100), (5, 400), (6, 450)):
        case.calls.sent, case.calls.tokens = sent, tokens
        case.beat(says_status=True)
        (worker,) = read_fleet_status(case.client, FLEET).workers
        told.append((worker.sent_last_minute, worker.tokens_last_minute))
        now_s += 40.0
    assert told == [(2, 100), (5, 400), (4, 350)]
    assert worker.errors == {"rate_limited": 2}


def test_a_key_is_known_by_name_with_the_scopes_of_its_holds_and_without_its_secret(case: HousekeepingCase) -> None:
    case.binding.quota("a1")
    case.beat(says_status=True)
    assert case.client.zrange(redis_keys.configured(FLEET), 0, -1) == [b"one"]
    text = case.client.hgetall(redis_keys.key_facts(FLEET))[b"one"]  # type: ignore[index]
    facts = json.loads(text)
    assert (facts["provider"], facts["group"], facts["models"]) == ("openai", None, ["a*"])
    assert facts["disabled"] in facts["scopes"]
    assert case.scopes.way == f"{facts['ways']}host"
    assert facts["pools"] == [pool.name for pool in case.binding.pools()]
    assert SECRET.encode() not in text


def test_a_probe_that_somebody_wants_is_made_once_and_what_it_brings_is_told(case: HousekeepingCase) -> None:
    case.holds.set(case.scopes.refused, KeyState.REVOKED, "no", None)
    case.probes = [Verdict(VerdictKind.SUCCESS)]
    case.client.set(redis_keys.probe_wanted(FLEET, "one"), "1")
    case.beat(says_status=True)
    wait_until(lambda: case.housekeeping.asked_probe.said() is not None, "the probe has ended")
    case.beat(says_status=True)
    (worker,) = read_fleet_status(case.client, FLEET).workers
    assert worker.probed is not None
    assert worker.probed.words == "works"
    assert case.holds.read([case.scopes.refused]) == []
    assert case.probes == []


def test_a_key_that_is_set_aside_is_told_at_once_and_remembered_when_its_worker_has_left(
    case: HousekeepingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_aside(now_ms: int) -> None:
        case.present = Hold("key:x:refused", KeyState.REVOKED, "invalid_api_key: no", now_ms, None)
        case.leaves = True

    case.accept("a1", 1)
    case.beat(says_status=True)
    monkeypatch.setattr(case, "look", set_aside)
    case.clock.advance_ms(250)
    case.beat()
    case.clock.advance_ms(STATUS_LIFE_MS + 1)
    fleet = read_fleet_status(case.client, FLEET)
    assert fleet.workers == ()
    assert [(worker.key_name, worker.key.state, worker.standings) for worker in fleet.left] == [
        ("one", "revoked", {"a1": "serves"})
    ]
    case.clock.advance_ms(LEFT_LIFE_MS)
    assert read_fleet_status(case.client, FLEET).left == ()


def test_no_secret_stands_in_what_a_worker_says(case: HousekeepingCase) -> None:
    case.accept("a1", 1)
    case.beat(says_status=True)
    found = [case.client.get(key) for key in case.client.keys("*worker:*")]  # type: ignore[union-attr]
    assert found
    assert SECRET not in str(found)


def test_the_largest_cost_that_the_key_can_start_is_told_by_the_servers_clock(
    case: HousekeepingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a host whose clock is far behind
    case.accept("a1", 1)
    case.accept("b1", 1)
    case.beat(says_status=True)
    until_ms = case.clock.now_ms + CAPACITY_LIFE_MS
    assert case.client.hgetall(QueueKeys(FLEET, "a1").capacity) == {b"one": f"100 {until_ms}".encode()}
    assert case.client.hgetall(QueueKeys(FLEET, "b1").capacity) == {}
    until_ms = case.clock.now_ms + STATUS_LIFE_MS
    assert case.client.zscore(redis_keys.workers(FLEET), case.housekeeping.worker_id) == until_ms
    assert UNBOUNDED > 100


def test_the_most_images_that_the_key_can_start_are_told_where_they_are_limited(case: HousekeepingCase) -> None:
    case.accept("a1", 1)
    case.binding.learn(case.binding.quota("a1").name, "images", 60, 5)
    case.beat(says_status=True)
    until_ms = case.clock.now_ms + CAPACITY_LIFE_MS
    assert case.client.hgetall(QueueKeys(FLEET, "a1").capacity) == {b"one": f"100/5 {until_ms}".encode()}


def test_what_a_worker_said_is_gone_soon_after_it(case: HousekeepingCase) -> None:
    case.accept("a1", 1)
    case.beat(says_status=True)
    case.clock.advance_ms(STATUS_LIFE_MS + 1)
    status = (redis_keys.workers(FLEET), redis_keys.worker(FLEET, case.housekeeping.worker_id))
    assert case.client.exists(*status) == 0
    assert case.client.exists(QueueKeys(FLEET, "a1").capacity) == 1  # its host may be starting again
    case.clock.advance_ms(CAPACITY_LIFE_MS)
    assert case.client.exists(QueueKeys(FLEET, "a1").capacity) == 0


def test_workers_that_were_restarted_leave_no_trace_of_their_former_selves(
    case: HousekeepingCase, stand_in: StandIn, client: redis.Redis
) -> None:
    case.accept("a1", 1)
    for number in range(5):
        again = HousekeepingCase(stand_in, client)
        again.housekeeping.status.worker_id = f"one:host:{number}:xyz"
        again.beat(says_status=True)
    assert client.hlen(QueueKeys(FLEET, "a1").capacity) == 1


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), ValueError("unheard of")])
def test_no_error_ends_the_thread(case: HousekeepingCase, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(housekeeping_module, "BEAT_S", 0.001)
    looked = threading.Semaphore(0)
    errors = [error, error]

    def look(self: Housekeeping, *, says_status: bool) -> None:
        looked.release()
        if errors:
            raise errors.pop()

    monkeypatch.setattr(Housekeeping, "look", look)
    case.housekeeping.start()
    for _ in range(5):
        assert looked.acquire(timeout=10.0)


def test_a_status_is_said_at_once_and_then_once_a_second(
    case: HousekeepingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping_module, "BEAT_S", 0.001)
    said: list[bool] = []
    enough = threading.Event()

    def look(self: Housekeeping, *, says_status: bool) -> None:
        said.append(says_status)
        if len(said) == 20:
            enough.set()

    monkeypatch.setattr(Housekeeping, "look", look)
    monkeypatch.setattr(housekeeping_module, "time", _Clock())
    case.housekeeping.start()
    assert enough.wait(10.0)
    assert [number for number, says in enumerate(said[:20]) if says] == [0, 10]


def test_abandoned_jobs_are_swept_by_the_worker_that_reaps_whatever_errors_come_up(
    case: HousekeepingCase, stand_in: StandIn, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping_module, "SWEEP_S", 0.001)
    other = HousekeepingCase(stand_in, client, "two")
    case.beat()
    other.beat()
    case.sweep_errors = [redis.ConnectionError("gone"), ValueError("unheard of")]
    for each in (other, case):
        each.housekeeping.start()
    for _ in range(5):
        assert case.swept.acquire(timeout=10.0)
    other.stopping.set()
    assert not other.swept.acquire(blocking=False)


class _Clock:
    """Goes on by a tenth of a second with every look."""

    def __init__(self) -> None:
        self._now_s = 50.0

    def monotonic(self) -> float:
        self._now_s = round(self._now_s + 0.1, 6)
        return self._now_s

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def test_a_ticket_that_can_not_be_sent_keeps_no_other_queue_from_being_looked_after(case: HousekeepingCase) -> None:
    case.ticket_error = OSError("no way")
    for queue in ("a1", "a2", "a3"):
        case.accept(queue, 1)
        case.ledger_delays(queue)
    case.beat()
    case.look_for(5000)
    for queue in ("a1", "a2", "a3"):
        assert case.ledger.depths(queue) == {"ready": 1, "running": 0, "delayed": 0}
    case.ticket_error = None
    case.look_for(5000)
    assert set(case.tickets) == {"a1", "a2", "a3"}
