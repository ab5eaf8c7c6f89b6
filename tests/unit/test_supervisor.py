"""The supervisor, with real processes of trivial workers. Each test runs it in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyfleet.config import KeyConfig, SecretReference
from keyfleet_workers import supervisor as module
from keyfleet_workers.supervisor import CONFIGURATION_EXIT, Supervisor
from support.events import wait_until

PROGRAM = """
import json, os, pathlib, signal, sys, threading
from keyfleet.config import KeyConfig, SecretReference
from keyfleet_workers import supervisor
from keyfleet_workers.supervisor import CONFIGURATION_EXIT, Supervisor

supervisor.LOOK_S = 0.01

directory, behaviours, workers, options = pathlib.Path(sys.argv[1]), *map(json.loads, sys.argv[2:5])


def mark(key, text=""):
    pathlib.Path(directory, f"{key.name}.{os.getpid()}").write_text(text)


def until_told(key):
    threading.Thread(target=lambda: (os.read(0, 1), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
    mark(key)
    while True:
        signal.pause()


def breaks(key):
    mark(key)
    raise RuntimeError("made up")


def is_misconfigured(key):
    mark(key)
    raise SystemExit(CONFIGURATION_EXIT)


def stays(key):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mark(key)
    while True:
        signal.pause()


def tells_signals(key):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    mark(key, f"{sorted(blocked)} {handlers == [signal.SIG_DFL] * 2}")
    return CONFIGURATION_EXIT


def spawn(key):
    code = f"import os, pathlib; pathlib.Path({str(directory)!r}, f'{key.name}.{{os.getpid()}}').touch(); os.read(0, 1)"
    return [sys.executable, "-S", "-c", code]


keys = tuple(KeyConfig(name, SecretReference("${KEY}"), workers=workers.get(name, 1)) for name in behaviours)
serve = lambda key: globals()[behaviours[key.name]](key)
sys.exit(Supervisor(keys, serve, spawn, **{"restart_first_s": 0.01, "can_fork": True, **options}).run())
"""
"""A supervisor of the keys in argv[2], each with the name of what its workers do; they leave a mark for each life."""


def key(name: str) -> KeyConfig:
    return KeyConfig(name, SecretReference("${KEY}"))


class Place:
    """Where the processes leave their marks: `<key>.<pid>`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[Supervised] = []

    def lives(self, name: str) -> list[int]:
        return sorted(int(path.suffix[1:]) for path in self.directory.glob(f"{name}.*"))

    def supervise(
        self, behaviours: dict[str, str], workers: dict[str, int] | None = None, **options: object
    ) -> Supervised:
        found = Supervised(self.directory, behaviours, workers or {}, options)
        self.started.append(found)
        return found


class Supervised:
    """A supervisor in a process of its own, whose standard input is a pipe from here."""

    def __init__(
        self, directory: Path, behaviours: dict[str, str], workers: dict[str, int], options: dict[str, object]
    ) -> None:
        arguments = [str(directory), *(json.dumps(one) for one in (behaviours, workers, options))]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        return self._process.wait(30.0)

    def kill(self) -> None:
        self.close_stdin()
        self._process.kill()
        self.wait()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for one in place.started:
        one.kill()
    for path in tmp_path.glob("*.*"):  # workers end with their parent; this is for those of a test that failed
        if path.suffix[1:].isdigit() and is_alive(int(path.suffix[1:])):
            os.kill(int(path.suffix[1:]), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether the process runs, and is no zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_every_key_gets_its_processes(place: Place) -> None:
    one = place.supervise({"a": "until_told", "b": "until_told"}, {"b": 2})
    wait_until(lambda: len(place.lives("a")) == 1 and len(place.lives("b")) == 2, "all workers have started")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_workers_and_then_itself(place: Place, number: signal.Signals) -> None:
    one = place.supervise({"a": "until_told", "b": "until_told"})
    wait_until(lambda: place.lives("a") and place.lives("b"), "the workers have started")
    pids = place.lives("a") + place.lives("b")
    one.signal(number)
    assert one.wait() == 0
    assert not any(is_alive(pid) for pid in pids)


def test_the_end_of_standard_input_ends_it(place: Place) -> None:
    one = place.supervise({"a": "until_told"}, end_with_stdin=True)
    wait_until(lambda: place.lives("a"), "the worker has started")
    one.close_stdin()
    assert one.wait() == 0
    assert not is_alive(place.lives("a")[0])


def test_without_the_option_standard_input_means_nothing(place: Place) -> None:
    one = place.supervise({"a": "until_told"})
    one.close_stdin()
    wait_until(lambda: place.lives("a"), "the worker has started")
    assert not one.has_ended()


def test_workers_end_with_a_supervisor_that_was_killed(place: Place) -> None:
    one = place.supervise({"a": "until_told"})
    wait_until(lambda: place.lives("a"), "the worker has started")
    one.signal(signal.SIGKILL)
    one.wait()
    wait_until(lambda: not is_alive(place.lives("a")[0]), "the worker has ended")


def test_a_worker_that_dies_is_started_again_and_the_others_stay(place: Place) -> None:
    one = place.supervise({"a": "until_told", "b": "until_told"})
    wait_until(lambda: place.lives("a") and place.lives("b"), "the workers have started")
    os.kill(place.lives("a")[0], signal.SIGKILL)
    wait_until(lambda: len(place.lives("a")) == 2, "the worker has started again")
    assert len(place.lives("b")) == 1
    assert not one.has_ended()


def test_a_worker_that_breaks_is_started_again_and_again(place: Place) -> None:
    one = place.supervise({"a": "breaks"})
    wait_until(lambda: len(place.lives("a")) == 4, "the worker has started four times")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0


def test_the_pause_before_a_worker_is_started_again_doubles_while_it_dies_young(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Clock:
        now_s = 0.0

        def monotonic(self) -> float:
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(Supervisor, "_start", lambda self, key: 1)
    one = Supervisor((key("a"),), lambda key: 0, lambda key: [])
    child = module._Child(key("a"), 1, 0.0, one.restart_first_s)
    pauses_s = []
    for lived_s in (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 60.0, 1.0):
        clock.now_s += lived_s
        one._note_death(child, 1)
        assert child.restart_due_s is not None
        pauses_s.append(child.restart_due_s - clock.now_s)
        clock.now_s = child.restart_due_s
        one._restart_when_due(child)
    assert pauses_s == pytest.approx([1, 2, 4, 8, 16, 30, 30, 1, 2])
    assert "the worker of key a ended (1); it starts again in 1 s" in caplog.text


def test_a_worker_whose_configuration_is_wrong_is_not_started_again(place: Place) -> None:
    one = place.supervise({"a": "is_misconfigured", "b": "is_misconfigured"})
    assert one.wait() == CONFIGURATION_EXIT
    assert (len(place.lives("a")), len(place.lives("b"))) == (1, 1)


def test_the_others_go_on_where_one_configuration_is_wrong(place: Place) -> None:
    one = place.supervise({"a": "is_misconfigured", "b": "until_told"})
    wait_until(lambda: place.lives("a") and place.lives("b"), "both have started")
    (pid,) = place.lives("a")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the supervisor has noticed the end of the first")
    one.signal(signal.SIGTERM)
    assert one.wait() == CONFIGURATION_EXIT


def test_a_worker_that_does_not_leave_is_killed_in_the_end(place: Place) -> None:
    one = place.supervise({"a": "stays"}, shutdown_s=0.1)
    wait_until(lambda: place.lives("a"), "the worker has started")
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert not is_alive(place.lives("a")[0])


def test_a_worker_gets_its_signals_as_a_fresh_process_would(place: Place) -> None:
    place.supervise({"a": "tells_signals"}).wait()
    (mark,) = place.directory.glob("a.*")
    assert mark.read_text() == "[] True"


def test_where_forking_is_unsafe_workers_are_started_as_new_programs(place: Place) -> None:
    one = place.supervise({"a": "", "b": ""}, can_fork=False)
    wait_until(lambda: place.lives("a") and place.lives("b"), "the workers have started")
    os.kill(place.lives("a")[0], signal.SIGKILL)
    wait_until(lambda: len(place.lives("a")) == 2, "the worker has started again")
    one.signal(signal.SIGKILL)
    one.wait()
    wait_until(lambda: not is_alive(place.lives("b")[0]), "the worker has ended with it")


def test_a_worker_stops_once_the_other_end_of_its_pipe_is_closed() -> None:
    program = (
        "import signal; from keyfleet_workers.process import end_with; end_with(0); print(flush=True); signal.pause()"
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
        assert process.wait(30.0) == -signal.SIGTERM
