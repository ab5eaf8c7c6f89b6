"""What the parts of a worker tell, as Prometheus's metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from keyfleet.ledger import Reaped
from keyfleet_workers.metrics import NO_METER, Standing
from keyfleet_workers.metrics.prometheus_meter import LONGEST_MODEL, MOST_MODELS, PrometheusMeter

MODEL = "org/model"
QUEUE = "org%2Fmodel"


class Told(PrometheusMeter):
    """A meter whose registry can be asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.begun: list[str] = []
        super().__init__("one", self.registry, on_begin=self.begun.append, on_end=self.begun.clear)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"keyfleet_{name}", labels)


@pytest.fixture
def meter() -> Told:
    return Told()


def test_a_call_counts_by_its_result_with_its_time_and_tokens(meter: Told) -> None:
    meter.called(QUEUE, "success", 0.3, 70, 100)
    meter.called(QUEUE, "rate_limited", 0.1, 0, 100)
    assert meter.value("calls_total", key="one", model=MODEL, result="success") == 1
    assert meter.value("calls_total", key="one", model=MODEL, result="rate_limited") == 1
    assert meter.value("tokens_total", key="one", model=MODEL, kind="reported") == 70
    assert meter.value("tokens_total", key="one", model=MODEL, kind="reserved") == 200
    assert meter.value("provider_latency_seconds_sum", model=MODEL) == pytest.approx(0.4)
    assert meter.value("provider_latency_seconds_bucket", model=MODEL, le="0.25") == 1


def test_requests_that_end_are_told_from_those_that_go_back(meter: Told) -> None:
    meter.ended(QUEUE, "succeeded", 3, (1.0, 2.0, -0.5))
    meter.ended(QUEUE, "rate_limited", 2, (9.0, 9.0))
    meter.ended(QUEUE, "failed", 0)
    assert meter.value("requests_ended_total", key="one", model=MODEL, outcome="succeeded") == 3
    assert meter.value("requests_ended_total", key="one", model=MODEL, outcome="failed") == 0
    assert meter.value("requests_returned_total", key="one", model=MODEL, reason="rate_limited") == 2
    assert meter.value("fleet_latency_seconds_count", model=MODEL) == 3, "one that went back has no outcome yet"
    assert meter.value("fleet_latency_seconds_sum", model=MODEL) == 3.0, "a clock that stepped takes nothing off"


def test_waits_count_by_what_they_have_lasted_since_they_were_told_last(meter: Told) -> None:
    wait = (QUEUE, "limit_tokens")
    meter.stand(Standing(1, 2, 3, frozenset({wait}), {wait: 1.5}))
    assert meter.value("waiting", key="one", model=MODEL, reason="limit_tokens") == 1
    meter.stand(Standing(4, 5, 6, frozenset(), {wait: 4.0}))
    assert meter.value("waiting", key="one", model=MODEL, reason="limit_tokens") == 0
    assert meter.value("wait_seconds_total", key="one", model=MODEL, reason="limit_tokens") == 4.0
    standing = [meter.value(name, key="one") for name in ("calls_in_flight", "call_slots", "leases")]
    assert standing == [4, 5, 6]


def test_what_the_reaper_finds_was_nothing_before(meter: Told) -> None:
    meter.reaped(QUEUE, Reaped(0, 0, 0, ()))
    assert meter.value("reaper_finds_total", model=MODEL, find="given_up") == 0
    meter.reaped(QUEUE, Reaped(4, 3, 2, (("job:1", "token"),)))
    finds = ("lacking_ticket", "made_ready", "expired_lease", "given_up")
    assert [meter.value("reaper_finds_total", model=MODEL, find=find) for find in finds] == [4, 3, 2, 1]


def test_tickets_and_the_worker_itself_are_counted(meter: Told) -> None:
    meter.began("one:host:1:abc")
    meter.ticket(QUEUE, "served")
    meter.ticket(QUEUE, "issued", 3)
    assert meter.value("workers", key="one") == 1
    assert meter.value("tickets_total", key="one", model=MODEL, what="issued") == 3
    assert meter.begun == ["one:host:1:abc"]
    meter.ends()
    assert meter.begun == []


def test_names_of_models_that_callers_make_up_take_no_memory(meter: Told) -> None:
    for number in range(MOST_MODELS + 100):
        meter.called(f"m{number}", "success", 0.1, 1, 1)
    assert meter.value("calls_total", key="one", model="m0", result="success") == 1
    assert meter.value("calls_total", key="one", model="other", result="success") == 100
    (calls,) = (family for family in meter.registry.collect() if family.name == "keyfleet_calls")
    assert len({sample.labels["model"] for sample in calls.samples}) == MOST_MODELS + 1


def test_without_metrics_nothing_is_kept() -> None:
    NO_METER.began("one")
    NO_METER.called(QUEUE, "success", 0.1, 1, 1)
    NO_METER.ended(QUEUE, "succeeded", 1, (1.0,))
    NO_METER.ticket(QUEUE, "served")
    NO_METER.reaped(QUEUE, Reaped(1, 1, 1, ()))
    NO_METER.stand(Standing(0, 0, 0))
    NO_METER.ends()
    assert vars(NO_METER) == {}


def test_a_model_with_a_very_long_name_has_no_series_of_its_own(meter: Told) -> None:
    meter.called("m" * (LONGEST_MODEL + 1), "success", 0.1, 1, 1)
    assert meter.value("calls_total", key="one", model="other", result="success") == 1
