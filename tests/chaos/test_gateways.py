"""Several gateways on one broker, restarted under load: no answer reaches the wrong caller, and none is lost."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.jobs import forget_gone_callers, purge_abandoned, purging
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import queue_of
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet.redis_keys import QueueKeys
from keyfleet.sim import SimAnswers, SimLatency
from support import children_of, limits_exceeded, repeats_in, signal_all, wait_until
from support.fixtures import StartSim
from support.fleet_case import LEASE_S
from support.fleets import FLEET, MODEL, SharedFleet
from support.gateway_callers import GatewayCallers
from support.place import Place, sim_key
from support.server import ServerProcess
from support.shared_gateway import SharedGateway

CALLERS = 60
KILLED, RESTARTED, UNTOUCHED = range(3)

MOST_QUEUED = 2
"""Connections that the system had taken for a gateway in the moment in which that stopped to listen: it resets them.
Some twenty calls are under way there at any time."""

ERROR_FIELDS = {"message", "type", "param", "code"}


@pytest.fixture
def shared(place: Place, broker: ServerProcess, start_sim: StartSim) -> SharedFleet:
    place.settings["KEYFLEET_LEASE_S"] = str(LEASE_S)
    keys = sim_key("one", "60/second"), sim_key("two", "60/second")
    latency = SimLatency(latency_ms=200, jitter_ms=100, first_token_ms=50, token_interval_ms=20)
    return SharedFleet(place, broker, start_sim, keys, answers=SimAnswers(answer_bytes=80), latency=latency)


@pytest.fixture
def gateways(shared: SharedFleet) -> list[SharedGateway]:
    found = [SharedGateway(shared.place, shared.broker.url) for _ in range(3)]
    shared.start_workers()
    for gateway in found:
        gateway.wait_until_listening()
    return found


class Load:
    """Callers in a thread of their own."""

    def __init__(self, gateways: list[SharedGateway]) -> None:
        self.callers = GatewayCallers([gateway.base_url for gateway in gateways], CALLERS)
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self.callers.run())
        except BaseException as error:
            self._errors.append(error)

    def wait_until_more_are_answered(self, count: int, gateway: int | None = None) -> None:
        before = self._answered(gateway)
        wait_until(lambda: self._errors or self._answered(gateway) >= before + count, f"{count} more are answered")

    def _answered(self, gateway: int | None) -> int:
        return self.callers.counts()["answered"] if gateway is None else self.callers.at(gateway, "answered")

    def end(self) -> None:
        """What is under way goes to its end."""
        self.callers.stop()
        self._thread.join()
        assert self._errors == []


@pytest.fixture
def load(gateways: list[SharedGateway]) -> Iterator[Load]:
    load = Load(gateways)
    yield load
    load.callers.stop()


def kill_a_worker(shared: SharedFleet) -> None:
    """Kill one of the workers that one supervisor has started, while it has calls in flight."""
    (supervisor, *_) = shared.place.pids("-m keyfleet worker --all")
    wait_until(
        lambda: all(key["in_flight"] > 3 for key in shared.sim.stats()["keys"].values()),
        "both keys have calls in flight",
    )
    signal_all(children_of(supervisor)[:1], signal.SIGKILL)


def assert_every_call_has_its_own_end(callers: GatewayCallers, most_broken: int) -> None:
    """An answer, or an error where a worker was killed in the midst of it; whatever was heard before was its own."""
    filler = next(one.answer.removeprefix(one.text) for one in callers.heard if one.how == "answered")
    assert "caller" not in filler
    for one in callers.heard:
        whole = one.text + filler
        assert one.answer == whole if one.how == "answered" else whole.startswith(one.answer), one
    assert not callers.counts().keys() - {"answered", "broken", "cut off", "unreached", "closing"}, callers.counts()
    broken = [one for one in callers.heard if one.how == "broken"]
    assert all(one.error and one.error.keys() == ERROR_FIELDS and not one.is_done for one in broken)
    assert len(broken) <= most_broken
    assert {one.text for one in callers.heard} == {
        one.text for one in callers.heard if one.how in ("answered", "broken")
    }


def assert_nothing_is_left(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the process that was killed too, once it counts as abandoned."""
    keys = QueueKeys(FLEET, queue_of(MODEL))
    for key in (keys.requests, keys.places, keys.leases, keys.running, keys.attempts, keys.expiries, keys.delayed):
        wait_until(lambda key=key: not client.exists(key), f"nothing is left in {key}")  # type: ignore[misc] # bound now
    monkeypatch.setattr(purging, "NOTICE_MS", 0)
    wait_until(lambda: len(list(read_records(client, FLEET))) == 1, "the others' records are gone")
    assert purge_abandoned(client, FLEET, ALIVE_MS) == 1
    assert forget_gone_callers(client, FLEET) == 1
    assert not client.exists(redis_keys.callers(FLEET))
    assert client.keys(f"{redis_keys.fleet_prefix(FLEET)}job*") == []


def test_gateways_side_by_side_lose_only_what_the_killed_one_had_in_hand(
    shared: SharedFleet, gateways: list[SharedGateway], load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    load.wait_until_more_are_answered(CALLERS)
    gateways[KILLED].kill()
    load.wait_until_more_are_answered(CALLERS)
    gateways[KILLED].start_again()
    load.wait_until_more_are_answered(5, KILLED)
    gateways[RESTARTED].stop()
    gateways[RESTARTED].start_again()
    load.wait_until_more_are_answered(5, RESTARTED)
    kill_a_worker(shared)
    load.wait_until_more_are_answered(CALLERS)
    load.end()

    callers, stats = load.callers, shared.sim.stats()
    most_in_flight = max(key["in_flight_peak"] for key in stats["keys"].values())
    assert_every_call_has_its_own_end(callers, most_in_flight)
    assert callers.at(KILLED, "cut off") > 0
    assert callers.at(RESTARTED, "cut off") <= MOST_QUEUED
    assert callers.at(UNTOUCHED, "cut off") == callers.at(UNTOUCHED, "unreached") == 0
    assert (limits_exceeded(stats), stats["over_limit"]) == ([], 0)
    assert repeats_in(stats) <= callers.at(KILLED, "cut off") + most_in_flight
    for gateway in gateways:
        gateway.stop()
    shared.age_callers()
    with shared.broker.client() as client:
        assert_nothing_is_left(client, monkeypatch)
