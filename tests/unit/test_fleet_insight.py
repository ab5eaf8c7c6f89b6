"""How long and why requests wait, and whether a fleet can work at all."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from keyfleet import Fleet, redis_keys
from keyfleet.clock import elapsed_s
from keyfleet.contract import TOO_LARGE_FOR_KEY
from keyfleet.fleet_insight import LATEST_S, InsightMethods
from keyfleet.listed_models import ListedModel
from keyfleet.open_fleet import OpenFleet
from keyfleet.running.fleet_status import FleetStatus, KeyStanding, WorkerStatus, read_fleet_status
from keyfleet.running.wait_reasons import NO_WORKER

if TYPE_CHECKING:
    from support.stand_in import StandIn

NOW_S = 1_700_000_000.0


def worker(
    *,
    name: str = "one",
    state: str = "ready",
    rest_s: float | None = 0.0,
    wait_s: float | None = None,
    reason: str = "60 requests per 60 s",
    standing: str | None = "serves",
    now_s: float = NOW_S,
) -> WorkerStatus:
    """A worker, whose key serves the models `m` and `p*`."""
    waits = {} if wait_s is None else {"m": (reason, now_s + wait_s)}
    standings = {} if standing is None else {"m": standing}
    key = KeyStanding(state, "its words", rest_s)
    return WorkerStatus(name, "h", 0, 1, False, waits, (), {}, key, standings, models=("m", "p*"))


@pytest.mark.parametrize(
    ("workers", "wait_s"),
    [
        ([], None),
        ([worker()], 0.0),
        ([worker(wait_s=7.0)], 7.0),
        ([worker(wait_s=-7.0)], 0.0),
        ([worker(wait_s=7.0), worker(wait_s=3.0), worker(wait_s=9.0)], 3.0),
        ([worker(wait_s=7.0), worker()], 0.0),
        ([worker(state="cooling", rest_s=12.0, wait_s=2.0)], 12.0),
        ([worker(state="cooling", rest_s=1.0, wait_s=2.0)], 2.0),
        ([worker(state="revoked", rest_s=None)], None),
        ([worker(state="revoked", rest_s=None), worker(wait_s=40.0)], 40.0),
        ([worker(wait_s=1.0, reason=TOO_LARGE_FOR_KEY)], None),
        ([worker(wait_s=1.0, reason=TOO_LARGE_FOR_KEY), worker(wait_s=30.0)], 30.0),
        ([worker(standing="other"), worker(standing="lost")], None),
        ([worker(standing="other"), worker(wait_s=5.0)], 5.0),
    ],
)
def test_the_least_wait_of_the_keys_that_serve_a_model_is_told(workers: list[WorkerStatus], wait_s: float) -> None:
    assert FleetStatus(tuple(workers)).wait_s("m", NOW_S) == wait_s


def test_a_queue_that_no_worker_has_found_yet_is_served_by_whose_key_names_its_model() -> None:
    fleet = FleetStatus((worker(standing=None),))
    assert [fleet.wait_s(queue, NOW_S) for queue in ("m", "p%2F1", "other")] == [0.0, 0.0, None]


def test_those_that_have_left_their_keys_start_nothing() -> None:
    assert FleetStatus(left=(worker(),)).wait_s("m", NOW_S) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        {"waits": {"m": ["busy", float("inf")]}},
        {"waits": {"m": ["busy", "soon"]}},
        {"waits": {"m": ["busy", True]}},
        {"state": {"name": "cooling", "reason": "", "rest_s": float("nan")}},
        {"state": {"name": "cooling", "reason": "", "rest_s": "long"}},
    ],
)
def test_waits_that_are_no_durations_are_not_taken_in(stand_in: StandIn, spoilt: dict[str, Any]) -> None:
    client = stand_in.client()
    fields = {"key": "one", "host": "h", "in_flight": 0, "slots": 1, "short_of_slots": False, "waits": {}}
    fields |= {"limits": [], "totals": {}, "state": {"name": "ready", "reason": "", "rest_s": 0.0}}
    fields |= {"queues": {}, "has_left": False, "models": ["m"]}
    client.zadd(redis_keys.workers("main"), {"w": 1})
    client.set(redis_keys.worker("main", "w"), json.dumps(fields))
    assert len(read_fleet_status(client, "main").workers) == 1
    client.set(redis_keys.worker("main", "w"), json.dumps(fields | spoilt))
    assert read_fleet_status(client, "main") == FleetStatus()


class OneFleet(InsightMethods):
    """A fleet whose parts are played."""

    def __init__(self, *workers: WorkerStatus, known: bool = True) -> None:
        self.status = FleetStatus(workers)
        self.watch = SimpleNamespace(known=self.status if known else None, heard_s=elapsed_s())
        self.backend = SimpleNamespace(workers=None)
        listed = (ListedModel("m", 5, "me"),)

        async def amodels() -> tuple[ListedModel, ...]:
            return listed

        self.listed = SimpleNamespace(models=lambda: listed, amodels=amodels)
        parts = SimpleNamespace(watch=self.watch, backend=self.backend, models=self.listed)
        self._opened = cast(OpenFleet, parts)
        self._is_closed = False

    def open(self) -> OpenFleet:
        assert self._opened is not None
        return self._opened


def test_models_are_given_as_openai_gives_them_to_threads_and_event_loops() -> None:
    fleet = OneFleet()
    entry = {"id": "m", "object": "model", "created": 5, "owned_by": "me"}
    assert fleet.models() == asyncio.run(fleet.amodels()) == [entry]
    fleet.models()[0]["id"] = "changed"
    assert fleet.models() == [entry]


def test_a_models_wait_is_estimated_from_what_is_known_of_the_workers() -> None:
    fleet = OneFleet(worker(wait_s=500.0, now_s=time.time()))
    assert 400.0 < (fleet.wait_estimate_s("m") or 0.0) <= 500.0
    assert (fleet.wait_estimate_s("p/1"), fleet.wait_estimate_s("other")) == (0.0, None)
    assert OneFleet(known=False).wait_estimate_s("m") is None


def test_it_is_told_in_words_why_a_model_waits() -> None:
    now_s = time.time()
    assert OneFleet(worker(wait_s=50.0, now_s=now_s)).why_waiting("m") == "60 requests per 60 s"
    assert OneFleet(worker()).why_waiting("m") == "answers take long"
    assert OneFleet().why_waiting("m") == NO_WORKER
    assert OneFleet(known=False).why_waiting("m") == "nothing is known of the workers"
    said = OneFleet(worker(state="revoked", rest_s=None)).why_waiting("m")
    assert said.startswith("no key can serve m now: one is refused by its provider (its words; ")


@pytest.mark.parametrize("state", ["ready", "cooling"])
def test_a_fleet_is_ready_where_one_key_can_work(state: str) -> None:
    fleet = OneFleet(worker(state="revoked", rest_s=None), worker(name="two", state=state))
    assert fleet.readiness() == ""


@pytest.mark.parametrize("state", ["revoked", "out_of_credit", "disabled", "unreachable", "resting"])
def test_a_fleet_whose_keys_can_all_not_work_says_why(state: str) -> None:
    said = OneFleet(worker(state=state, rest_s=5.0), worker(name="two", state="revoked", rest_s=None)).readiness()
    assert said.startswith("no key can work now: one ")
    assert "; two is refused by its provider (its words; probed now and then)" in said


def test_of_many_keys_that_can_not_work_some_are_named() -> None:
    said = OneFleet(*(worker(name=f"k{number}", state="revoked") for number in range(10))).readiness()
    assert said.endswith("and 2 more")
    assert "k7 " in said
    assert "k8 " not in said


def test_a_fleet_without_workers_is_not_ready() -> None:
    assert OneFleet().readiness() == NO_WORKER


def test_a_fleet_whose_own_workers_have_ended_is_not_ready() -> None:
    fleet = OneFleet(worker())
    fleet.backend.workers = SimpleNamespace(has_failed=lambda: False)
    assert fleet.readiness() == ""
    fleet.backend.workers = SimpleNamespace(has_failed=lambda: True)
    assert fleet.readiness() == "the fleet's own workers have ended"


def test_a_broker_that_is_away_or_hangs_makes_a_fleet_unready() -> None:
    fleet = OneFleet(worker())
    fleet.watch.heard_s = elapsed_s() - LATEST_S - 1.0
    assert fleet.readiness() == "the broker doesn't answer"
    fleet.watch.heard_s = None
    assert fleet.readiness() == "the broker has not answered yet"
    assert OneFleet(worker(), known=False).readiness() == "the broker doesn't answer"


def test_asking_whether_a_fleet_is_ready_opens_nothing() -> None:
    fleet = Fleet("redis://127.0.0.1:1/0")
    assert fleet.readiness() == "the fleet is not open yet"
    fleet.close()
    assert fleet.readiness() == "the fleet was closed"
