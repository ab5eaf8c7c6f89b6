"""How the whole fleet stands, as one process at a time tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from prometheus_client import CollectorRegistry

from keyfleet.contract import Cost
from keyfleet_workers.metrics.fleet_collector import TURN_MS, FleetCollector
from support.housekeeping_case import FLEET, SECRET, HousekeepingCase

if TYPE_CHECKING:
    from support.stand_in import StandIn


class Scraped:
    """A collector in a registry, as Prometheus asks it."""

    def __init__(self, client: redis.Redis) -> None:
        self.collector = FleetCollector(client, FLEET, declare_flags=False)
        self.registry = CollectorRegistry()
        self.registry.register(self.collector)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"keyfleet_{name}", labels)

    def names(self) -> set[str]:
        return {family.name for family in self.registry.collect()}


@pytest.fixture
def client(case: HousekeepingCase) -> redis.Redis:
    return case.client


@pytest.fixture
def case(housekeeping: HousekeepingCase) -> HousekeepingCase:
    housekeeping.accept("a1", 3)
    return housekeeping


@pytest.fixture
def scraped(client: redis.Redis) -> Scraped:
    return Scraped(client)


def test_a_key_is_in_one_state_and_has_its_limits(case: HousekeepingCase, scraped: Scraped) -> None:
    quota = case.binding.quota("a1")
    case.storage.reserve(quota.limits, [quota.costs(Cost(25))])
    case.beat(says_status=True)
    states = [sample for family in scraped.registry.collect() for sample in family.samples if "state" in sample.labels]
    of_key = {sample.labels["state"]: sample.value for sample in states if sample.labels.get("key") == "one"}
    assert {state for state, value in of_key.items() if value} == {"ready"}
    assert len(of_key) == 8
    labels = {"key": "one", "quota": "a*", "window": "60s"}
    assert scraped.value("limit_used_ratio", unit="tokens", **labels) == 0.25
    assert scraped.value("limit_amount", unit="requests", **labels) == 60
    assert scraped.value("key_workers", key="one") == 1


def test_a_key_that_nobody_serves_any_more_is_told_of(
    stand_in: StandIn, case: HousekeepingCase, scraped: Scraped
) -> None:
    case.beat(says_status=True)
    stand_in.clock.advance_ms(20_000)
    assert scraped.value("key_state", key="one", state="no_worker") == 1
    assert scraped.value("key_workers", key="one") == 0


def test_a_queue_has_its_depth_and_the_age_of_its_oldest(
    stand_in: StandIn, case: HousekeepingCase, scraped: Scraped
) -> None:
    stand_in.clock.advance_ms(4000)
    case.ledger_delays("a1")
    case.beat(says_status=True)
    states = ("ready_bulk", "delayed", "running", "paused")
    assert [scraped.value("queue_requests", model="a1", state=state) for state in states] == [2, 1, 0, 0]
    assert scraped.value("queue_oldest_age_seconds", model="a1") == 4.0
    assert scraped.value("queue_keys", model="a1") == 1


def test_one_process_tells_of_the_fleet_and_another_takes_over(
    stand_in: StandIn, case: HousekeepingCase, client: redis.Redis
) -> None:
    case.beat(says_status=True)
    first, second = Scraped(client), Scraped(client)
    assert first.value("queue_keys", model="a1") == 1
    assert second.names() == {"keyfleet_build_info", "keyfleet_broker_up"}
    stand_in.clock.advance_ms(TURN_MS - 1000)
    assert "keyfleet_queue_requests" in first.names(), "it is asked again in time"
    stand_in.clock.advance_ms(TURN_MS - 1000)
    assert "keyfleet_queue_requests" not in second.names()
    stand_in.clock.advance_ms(TURN_MS)
    assert "keyfleet_queue_requests" in second.names(), "nobody asked the first one any more"
    assert "keyfleet_queue_requests" not in first.names()
    first.collector.give_up_turn()
    assert "keyfleet_queue_requests" in second.names(), "it wasn't its turn to give up"
    second.collector.give_up_turn()
    assert "keyfleet_queue_requests" in first.names()


def test_while_the_broker_is_away_that_is_all_that_is_told(
    scraped: Scraped, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scraped.value("broker_up") == 1

    def refuse(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(client, "execute_command", refuse)
    monkeypatch.setattr("keyfleet_workers.metrics.fleet_collector.Script.__call__", refuse)
    assert scraped.value("broker_up") == 0
    assert scraped.names() == {"keyfleet_build_info", "keyfleet_broker_up"}
    scraped.collector.give_up_turn()


@pytest.mark.parametrize(
    ("error", "is_up"),
    [
        (redis.ConnectionError("gone"), 0),
        (redis.TimeoutError("silent"), 0),
        (redis.exceptions.OutOfMemoryError("full"), 1),
        (redis.ResponseError("refused"), 1),
    ],
)
def test_a_broker_that_refuses_something_is_not_away(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch, error: redis.RedisError, is_up: int
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("keyfleet_workers.metrics.fleet_collector.read_overview", refuse)
    assert scraped.value("broker_up") == is_up
    assert scraped.names() == {"keyfleet_build_info", "keyfleet_broker_up"}


def test_nothing_private_is_told(case: HousekeepingCase, scraped: Scraped) -> None:
    case.beat(says_status=True)
    told = repr([family.samples for family in scraped.registry.collect()])
    assert "one" in told
    assert [
        text for text in (SECRET, case.binding.fingerprint, "job") if text in told.replace("keyfleet_jobs", "")
    ] == []
