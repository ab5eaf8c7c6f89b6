"""The supervisor, with real processes of trivial workers. Each test runs it in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyfleet.config import KeyConfig, SecretReference
from keyfleet_workers.assignment import EveryKey
from keyfleet_workers.children import Child, Launcher
from keyfleet_workers.exit_codes import CONFIGURATION_EXIT
from keyfleet_workers.supervisor import Supervisor
from support.events import wait_until
from support.supervised import SupervisedPlace, is_alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SupervisedPlace]:
    place = SupervisedPlace(tmp_path)
    yield place
    place.close()


def test_every_key_gets_its_processes(place: SupervisedPlace) -> None:
    place.write_keys({"a": {}, "b": {"workers": 2}})
    one = place.start()
    wait_until(lambda: len(place.lives("a")) == 1 and len(place.lives("b")) == 2, "all workers have started")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_workers_and_then_itself(place: SupervisedPlace, number: signal.Signals) -> None:
    one = place.supervise({"a": "until_told", "b": "until_told"})
    wait_until(lambda: place.lives("a") and place.lives("b"), "the workers have started")
    pids = place.lives("a") + place.lives("b")
    one.signal(number)
    assert one.wait() == 0
    assert not any(is_alive(pid) for pid in pids)


def test_the_end_of_standard_input_ends_it(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "until_told"}, end_with_stdin=True)
    wait_until(lambda: place.lives("a"), "the worker has started")
    one.close_stdin()
    assert one.wait() == 0
    assert not is_alive(place.lives("a")[0])


def test_without_the_option_standard_input_means_nothing(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "until_told"})
    one.close_stdin()
    wait_until(lambda: place.lives("a"), "the worker has started")
    assert not one.has_ended()


def test_workers_end_with_a_supervisor_that_was_killed(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "until_told"})
    wait_until(lambda: place.lives("a"), "the worker has started")
    one.signal(signal.SIGKILL)
    one.wait()
    wait_until(lambda: not is_alive(place.lives("a")[0]), "the worker has ended")


def test_a_worker_that_dies_is_started_again_and_the_others_stay(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "until_told", "b": "until_told"})
    wait_until(lambda: place.lives("a") and place.lives("b"), "the workers have started")
    os.kill(place.lives("a")[0], signal.SIGKILL)
    wait_until(lambda: len(place.lives("a")) == 2, "the worker has started again")
    assert len(place.lives("b")) == 1
    assert not one.has_ended()


def test_a_worker_that_breaks_is_started_again_and_again(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "breaks"})
    wait_until(lambda: len(place.lives("a")) == 4, "the worker has started four times")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0


def test_the_pause_before_a_worker_is_started_again_doubles_while_it_dies_young(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 0.0
    monkeypatch.setattr(Launcher, "start", lambda self, key: 1)
    key = KeyConfig("a", SecretReference("${KEY}"))
    one = Supervisor(EveryKey("host"), Launcher(lambda key: 0, lambda key: []), (key,), clock=lambda: now_s)
    child = Child(key, None, 1, 0.0, one.restart_first_s)
    pauses_s = []
    for lived_s in (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 60.0, 1.0):
        now_s += lived_s
        one._note_end(child, 1)
        assert child.restart_due_s is not None
        pauses_s.append(child.restart_due_s - now_s)
        now_s = child.restart_due_s
        one._restart_when_due(child)
    assert pauses_s == pytest.approx([1, 2, 4, 8, 16, 30, 30, 1, 2])
    assert "the worker of key a ended (1); it starts again in 1 s" in caplog.text


def test_a_worker_whose_configuration_is_wrong_is_not_started_again(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "is_misconfigured", "b": "is_misconfigured"})
    assert one.wait() == CONFIGURATION_EXIT
    assert (len(place.lives("a")), len(place.lives("b"))) == (1, 1)


def test_the_others_go_on_where_one_configuration_is_wrong(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "is_misconfigured", "b": "until_told"})
    wait_until(lambda: place.lives("a") and place.lives("b"), "both have started")
    (pid,) = place.lives("a")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the supervisor has noticed the end of the first")
    one.signal(signal.SIGTERM)
    assert one.wait() == CONFIGURATION_EXIT


def test_a_worker_that_does_not_leave_is_killed_in_the_end(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "stays"}, shutdown_s=0.1)
    wait_until(lambda: place.lives("a"), "the worker has started")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert not is_alive(place.lives("a")[0])


def test_a_second_signal_ends_workers_at_once(place: SupervisedPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    one = place.supervise({"a": "stays"})
    wait_until(lambda: place.lives("a"), "the worker has started")
    (pid,) = place.lives("a")
    one.signal(signal.SIGTERM)
    wait_until(lambda: place.mark("a", pid).endswith("SIGTERM"), "the worker was told to leave in order")
    assert is_alive(pid)
    one.signal(signal.SIGTERM)
    wait_until(lambda: place.mark("a", pid).endswith("SIGTERM SIGQUIT"), "the worker was told to leave at once")
    assert one.wait() == 0
    assert not is_alive(pid)


def test_a_worker_gets_its_signals_as_a_fresh_process_would(place: SupervisedPlace) -> None:
    place.supervise({"a": "tells_signals"}).wait()
    (pid,) = place.lives("a")
    assert place.mark("a", pid) == "[] True"


def test_where_forking_is_unsafe_workers_are_started_as_new_programs(place: SupervisedPlace) -> None:
    one = place.supervise({"a": "", "b": ""}, can_fork=False)
    wait_until(lambda: place.lives("a") and place.lives("b"), "the workers have started")
    os.kill(place.lives("a")[0], signal.SIGKILL)
    wait_until(lambda: len(place.lives("a")) == 2, "the worker has started again")
    one.signal(signal.SIGKILL)
    one.wait()
    wait_until(lambda: not is_alive(place.lives("b")[0]), "the worker has ended with it")


def test_a_worker_stops_once_the_other_end_of_its_pipe_is_closed() -> None:
    program = (
        "import os, signal; from keyfleet_workers.process import end_with; "
        "end_with(0, lambda: os._exit(7)); print(flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        process.stdin.write(b"what is said means nothing")
        process.stdin.flush()
        assert process.stdout.readline() == b"\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(30.0) == 7
