"""What a producer reads of the workers, and what it concludes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import redis

from keyfleet import redis_keys
from keyfleet.broker import connect
from keyfleet.contract import TOO_LARGE_FOR_KEY
from keyfleet.running.blocked_models import blocked_models
from keyfleet.running.fleet_status import FleetStatus, KeyStanding, WorkerStatus, read_fleet_status
from keyfleet.running.fleet_watch import EMPTY_LOOKS, FleetWatch

if TYPE_CHECKING:
    from support.stand_in import StandIn

STATUS = {
    "key": "one",
    "host": "here",
    "pid": 1,
    "in_flight": 2,
    "slots": 32,
    "short_of_slots": False,
    "waits": {"gpt-4o": ["60 requests per 60 s", 5.0]},
    "limits": [{"quota": "q", "unit": "requests", "amount": 60, "window_s": 60, "used": 30}],
    "totals": {"succeeded": 4},
    "state": {"name": "revoked", "reason": "invalid_api_key: no", "rest_s": None},
    "queues": {"gpt-4o": "serves"},
    "has_left": False,
}


def say(client: redis.Redis, worker_id: str, status: dict[str, Any] | str, life_ms: int = 10_000) -> None:
    text = status if isinstance(status, str) else json.dumps(status)
    client.zadd(redis_keys.workers("main"), {worker_id: 1})
    client.set(redis_keys.worker("main", worker_id), text, px=life_ms)


def waiting(
    reason: str, *, in_flight: int = 0, queue: str = "a", left_s: float = 60.0, name: str = "one"
) -> WorkerStatus:
    return WorkerStatus(name, "h", in_flight, 1, False, {queue: (reason, time.time() + left_s)}, (), {})


def test_a_fleet_without_workers_has_an_empty_status(stand_in: StandIn) -> None:
    assert read_fleet_status(stand_in.client(), "main") == FleetStatus()


def test_every_worker_that_is_alive_is_read(stand_in: StandIn) -> None:
    client = stand_in.client()
    say(client, "w1", STATUS)
    say(client, "w2", {**STATUS, "key": "two"})
    found = read_fleet_status(client, "main")
    assert sorted(worker.key_name for worker in found.workers) == ["one", "two"]
    one = next(worker for worker in found.workers if worker.key_name == "one")
    reason, until_s = one.waits["gpt-4o"]
    assert (one.in_flight, reason, one.limits[0].used) == (2, "60 requests per 60 s", 30)
    assert 0 < until_s - time.time() <= 5.0
    assert (one.key, one.standings) == (KeyStanding("revoked", "invalid_api_key: no", None), {"gpt-4o": "serves"})


def test_a_worker_that_has_said_nothing_for_long_is_not_counted(stand_in: StandIn) -> None:
    client = stand_in.client()
    say(client, "w1", STATUS, life_ms=1000)
    stand_in.clock.advance_ms(2000)
    assert read_fleet_status(client, "main") == FleetStatus()


def test_the_status_of_a_worker_of_another_version_is_left_out(stand_in: StandIn) -> None:
    client = stand_in.client()
    say(client, "w1", STATUS)
    say(client, "w2", {"key": "newer"})
    say(client, "w3", {**STATUS, "limits": [{"amount": 1, "colour": "blue"}]})
    say(client, "w4", "no JSON")
    say(client, "w5", "[]")
    assert [worker.key_name for worker in read_fleet_status(client, "main").workers] == ["one"]


def test_waits_are_counted_by_reason_for_the_queues_asked_for() -> None:
    fleet = FleetStatus((waiting("slow"), waiting("slow"), waiting("gone", left_s=-1.0), waiting("far", queue="b")))
    assert fleet.waits({"a"}) == {"slow": 2}


def holding(state: str, *, name: str = "one", standing: str = "serves", rest_s: float | None = None) -> WorkerStatus:
    key = KeyStanding(state, f"why {state}", rest_s)
    return WorkerStatus(name, "h", 0, 1, False, {}, (), {}, key, {"gpt-4o": standing})


def test_keys_are_all_refused_only_when_each_of_them_is() -> None:
    refused = holding("revoked")
    assert FleetStatus((refused,)).all_keys_refused() == "one: why revoked"
    assert FleetStatus(()).all_keys_refused() is None
    for state in ("ready", "out_of_credit", "disabled", "unreachable"):
        assert FleetStatus((refused, holding(state, name="two"))).all_keys_refused() is None


def test_a_model_that_no_key_can_serve_is_told_with_every_key_and_its_reason() -> None:
    fleet = FleetStatus(
        (
            holding("revoked", name="a"),
            holding("out_of_credit", name="b"),
            holding("unreachable", name="c", rest_s=7.6),
            holding("ready", name="d", standing="other"),
            holding("ready", name="e", standing="lost"),
        )
    )
    (said,) = blocked_models(fleet, {"gpt-4o"}, ["a", "f"])
    assert said.startswith(
        "no key can serve gpt-4o now: a is refused by its provider (why revoked; probed now and then)"
    )
    for part in (
        "b is out of credit (why out_of_credit; probed now and then)",
        "c can't reach its provider (why unreachable; tried again in 8 s)",
        "d doesn't serve this model",
        "e was told that it can't use this model",
        "f no worker serves it now",
        "It goes on by itself when one can",
    ):
        assert part in said


def test_keys_that_do_not_serve_a_model_are_counted_where_there_are_several() -> None:
    others = [holding("ready", name=f"other-{n}", standing="other") for n in range(20)]
    (said,) = blocked_models(FleetStatus((*others, holding("revoked", name="z"))), {"gpt-4o"})
    assert "z is refused by its provider (why revoked; probed now and then); 20 other keys don't serve this" in said
    assert "other-1" not in said
    (said,) = blocked_models(FleetStatus(tuple(others)), {"gpt-4o"})
    assert said == "no key can serve gpt-4o now: 20 keys don't serve this model. It goes on by itself when one can"


def test_keys_that_wait_for_long_are_told_where_none_of_them_need_not() -> None:
    day = waiting("resting: rate_limit_exceeded: Limit 200", queue="gpt-4o", left_s=7200.0, name="a")
    small = waiting(TOO_LARGE_FOR_KEY, queue="gpt-4o", left_s=1.0, name="b")
    (said,) = blocked_models(FleetStatus((day, small)), {"gpt-4o"})
    assert "a waits for 2 h 00 min (resting: rate_limit_exceeded: Limit 200)" in said
    assert "b has limits that are too small for the requests that wait" in said
    soon = waiting("60 requests per 60 s", queue="gpt-4o", left_s=59.0, name="c")
    assert blocked_models(FleetStatus((day, small, soon)), {"gpt-4o"}) == ()


def test_keys_that_their_workers_have_left_are_told_until_somebody_serves_them_again(stand_in: StandIn) -> None:
    client = stand_in.client()
    say(client, "w1", {**STATUS, "has_left": True, "queues": {}})
    fleet = read_fleet_status(client, "main")
    assert fleet.workers == ()
    (said,) = blocked_models(fleet, {"gpt-4o"})
    assert "one is refused by its provider" in said
    say(client, "w2", {**STATUS, "state": {"name": "ready", "reason": "", "rest_s": 0.0}})
    assert blocked_models(read_fleet_status(client, "main"), {"gpt-4o"}) == ()


def test_a_model_that_one_key_can_serve_is_not_told() -> None:
    fleet = FleetStatus((holding("revoked"), holding("ready", name="two")))
    assert blocked_models(fleet, {"gpt-4o"}) == ()
    assert blocked_models(FleetStatus(), {"gpt-4o"}) == ()
    assert blocked_models(FleetStatus((holding("revoked"),)), {"unknown yet"}) == ()


def looks(watch: FleetWatch, count: int) -> list[bool]:
    """Whether it saw no worker, after each of so many looks."""
    found = []
    for _ in range(count):
        watch.look()
        found.append(watch.saw_no_worker)
    return found


def test_a_fleet_is_empty_when_a_few_looks_in_a_row_saw_no_worker(stand_in: StandIn) -> None:
    client = stand_in.client()
    watch = FleetWatch(client, "main")
    assert looks(watch, EMPTY_LOOKS) == [False] * (EMPTY_LOOKS - 1) + [True]
    say(client, "w1", STATUS)
    assert looks(watch, 1) == [False]
    assert len(watch.status.workers) == 1
    client.flushall()
    assert looks(watch, 1) == [False]


def test_a_broker_that_is_away_is_not_taken_for_a_fleet_without_workers() -> None:
    watch = FleetWatch(connect("redis://127.0.0.1:1/0"), "main")
    assert looks(watch, EMPTY_LOOKS + 1) == [False] * (EMPTY_LOOKS + 1)
    assert watch.status == FleetStatus()
