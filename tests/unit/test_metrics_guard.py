"""A meter that fails keeps nothing from being delivered, put back or ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from keyfleet.config import Environment, KeyConfig, SecretReference, Settings
from keyfleet.errors import ConfigurationError
from keyfleet.ledger import Reaped
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.celery_app import build_app
from keyfleet_workers.metrics import GuardedMeter, Meter, Standing
from keyfleet_workers.runtime import WorkerRuntime
from support.call_case import CallCase, CallClock

URL = "redis://127.0.0.1:9/0"


class Failing(Meter):
    """A meter whose disk is full."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.error: Exception = OSError(28, "No space left on device")

    def _fail(self, what: str) -> None:
        self.told.append(what)
        raise self.error

    def began(self, worker_id: str) -> None:
        self._fail("began")

    def ends(self) -> None:
        self._fail("ends")

    def called(self, queue: str, result: str, took_s: float, reported_tokens: int, reserved_tokens: int) -> None:
        self._fail("called")

    def ended(self, queue: str, how: str, requests: int, ages_s: Sequence[float] = ()) -> None:
        self._fail("ended")

    def ticket(self, queue: str, what: str, count: int = 1) -> None:
        self._fail("ticket")

    def reaped(self, queue: str, found: Reaped) -> None:
        self._fail("reaped")

    def stand(self, standing: Standing) -> None:
        self._fail("stand")


@pytest.fixture
def failing() -> Failing:
    return Failing()


def test_after_its_first_failure_a_meter_is_told_nothing_and_that_is_logged_once(
    failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    meter = GuardedMeter(failing)
    for _ in range(2):
        meter.called("q", "success", 0.1, 1, 1)
        meter.ended("q", "succeeded", 1)
        meter.ticket("q", "served")
        meter.reaped("q", Reaped(0, 0, 0, ()))
        meter.stand(Standing(0, 0, 0))
    assert failing.told == ["called"]
    assert caplog.text.count("metrics stand still") == 1
    meter.ends()
    assert failing.told == ["called", "ends"], "else the worker would be shown as one that serves its key"


@pytest.mark.parametrize("first", ["ended", "ticket", "reaped", "stand", "began", "ends"])
def test_whatever_a_meter_fails_at_first_is_passed_over(failing: Failing, first: str) -> None:
    meter = GuardedMeter(failing)
    tell = {
        "ended": lambda: meter.ended("q", "succeeded", 1),
        "ticket": lambda: meter.ticket("q", "served"),
        "reaped": lambda: meter.reaped("q", Reaped(0, 0, 0, ())),
        "stand": lambda: meter.stand(Standing(0, 0, 0)),
        "began": lambda: meter.began("one:host"),
        "ends": meter.ends,
    }
    tell[first]()
    meter.called("q", "success", 0.1, 1, 1)
    assert failing.told == [first]


def test_an_address_that_cannot_be_had_is_still_said(failing: Failing) -> None:
    failing.error = ConfigurationError("--metrics-port: taken", setting="--metrics-port")
    with pytest.raises(ConfigurationError, match="taken"):
        GuardedMeter(failing).began("one:host")


def test_an_answer_that_was_paid_for_is_delivered_though_the_meter_fails(clock: CallClock, failing: Failing) -> None:
    case = CallCase(clock, meter=GuardedMeter(failing))
    case.run()
    assert case.runner.totals == {"succeeded": 1}
    assert case.results()[0].outcome.ok


def test_a_chunk_knows_of_a_calls_end_before_the_meter_is_told(clock: CallClock) -> None:
    known: list[dict[str, int]] = []

    class Asking(Meter):
        def ended(self, queue: str, how: str, requests: int, ages_s: Sequence[float] = ()) -> None:
            known.append(dict(case.counts.ends))

    case = CallCase(clock, meter=Asking())
    case.run()
    assert known == [{"succeeded": 1}]


def test_a_worker_guards_whatever_meter_it_is_given(failing: Failing, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    settings, env = Settings.from_environment(Environment({})), Environment({"KEY": "sk-very-secret-0123456789"})
    binding = KeyBinding(KeyConfig("one", SecretReference("${KEY}")), env)
    app = build_app(settings, binding, URL)
    try:
        WorkerRuntime(app, settings, binding, URL, meter=failing)._meter.ticket("q", "issued")
    finally:
        app.close()
    assert failing.told == ["ticket"]
    assert "metrics stand still" in caplog.text
