"""How a worker ends: in order, within its deadline, at once when told again, and with the code that says why."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from celery.worker import state as celery_state

from keyfleet_workers import leaving
from keyfleet_workers.exit_codes import KEY_SET_ASIDE
from keyfleet_workers.leaving import Leaver
from support.events import wait_until

DEADLINE_S = 60.0


class Runtime:
    """Stands for a worker's parts: notes the deadlines, and is stopped once `stopped` is set."""

    def __init__(self) -> None:
        self.deadlines_s: list[float] = []
        self.stopped = threading.Event()
        self.is_all_done = True

    def stop(self, deadline_s: float) -> bool:
        self.deadlines_s.append(deadline_s)
        return self.stopped.wait(deadline_s) and self.is_all_done


class Ends:
    """A worker whose end is a code in `codes`."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.runtime = Runtime()
        self.leaver = Leaver(DEADLINE_S, end=self.codes.append)
        self.leaver.leave_with(self.runtime)

    def code(self) -> int:
        wait_until(lambda: self.codes, "the process has ended")
        return self.codes[0]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    monkeypatch.setattr(celery_state, "should_stop", None)
    monkeypatch.setattr(leaving, "AT_ONCE_S", 0.05)
    worker = Ends()
    yield worker
    worker.runtime.stopped.set()


@pytest.fixture
def handlers() -> Iterator[Callable[[signal.Signals], None]]:
    """Calls what is installed for a signal; puts back what was there before."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def arrive(number: signal.Signals) -> None:
        handler = signal.getsignal(number)
        if callable(handler):
            handler(number, None)

    yield arrive
    for number, handler in before.items():
        signal.signal(number, handler)


def test_it_stops_within_its_deadline_has_celery_stop_too_and_ends_well(worker: Ends) -> None:
    worker.leaver.leave()
    assert celery_state.should_stop == 0
    worker.runtime.stopped.set()
    assert worker.code() == 0
    assert worker.runtime.deadlines_s == [DEADLINE_S]


def test_what_is_left_over_shows_in_the_code(worker: Ends) -> None:
    worker.runtime.is_all_done = False
    worker.runtime.stopped.set()
    worker.leaver.leave()
    assert worker.code() == 1


def test_a_worker_that_leaves_its_key_says_so_though_it_is_told_to_leave_as_well(worker: Ends) -> None:
    worker.leaver.leave(KEY_SET_ASIDE)
    worker.leaver.leave()
    worker.runtime.stopped.set()
    assert worker.code() == worker.leaver.code == KEY_SET_ASIDE
    assert worker.runtime.deadlines_s == [DEADLINE_S], "it began to leave twice"


def test_celery_waits_for_the_runtime_whatever_made_it_stop(worker: Ends) -> None:
    worker.runtime.stopped.set()
    assert worker.leaver.stop()
    assert worker.code() == 0


def test_at_once_means_without_a_deadline_though_it_was_leaving_already(worker: Ends) -> None:
    worker.leaver.leave()
    worker.leaver.leave_at_once()
    assert worker.code() == 1
    assert worker.runtime.deadlines_s == [DEADLINE_S, 0.0]


def test_at_once_doesnt_wait_for_a_broker_that_hangs(worker: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.runtime, "stop", lambda deadline_s: worker.runtime.stopped.wait())
    worker.leaver.leave_at_once()
    assert worker.code() == 1


def test_before_anything_runs_it_ends_right_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_state, "should_stop", None)
    codes: list[int] = []
    Leaver(DEADLINE_S, end=codes.append).leave()
    wait_until(lambda: codes == [0], "the process has ended")


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_of_its_own_a_worker_leaves_at_the_first_signal_and_at_once_at_the_second(
    worker: Ends, handlers: Callable[[signal.Signals], None], first: signal.Signals
) -> None:
    worker.leaver.handle_signals(is_supervised=False)
    handlers(first)
    wait_until(lambda: worker.runtime.deadlines_s == [DEADLINE_S], "it leaves in order")
    assert not worker.codes
    handlers(signal.SIGTERM)
    assert worker.code() == 1


def test_under_a_supervisor_only_its_word_for_at_once_means_that(
    worker: Ends, handlers: Callable[[signal.Signals], None]
) -> None:
    worker.leaver.handle_signals(is_supervised=True)
    for number in (signal.SIGINT, signal.SIGHUP):
        handlers(number)
    assert not worker.runtime.deadlines_s, "what a terminal says to everybody is the supervisor's business"
    for _ in range(3):  # a service manager tells every process of a group, and so does the supervisor
        handlers(signal.SIGTERM)
    wait_until(lambda: worker.runtime.deadlines_s, "it leaves in order")
    assert worker.runtime.deadlines_s == [DEADLINE_S]
    handlers(signal.SIGQUIT)
    assert worker.code() == 1
