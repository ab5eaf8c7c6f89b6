"""The process that serves metrics: it is kept running, and ends after the workers with all that was kept for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import cast

import pytest

from keyfleet_workers.children import Launcher
from keyfleet_workers.metrics.directory import is_supervised
from keyfleet_workers.metrics.exporter import AGAIN_S, DIRECTORY_VARIABLE, YOUNG_S, Exporter, MetricsPlace
from support.events import wait_until
from support.supervised import is_alive


class Started:
    """Starts processes that only wait to be ended."""

    def __init__(self, *, is_deaf: bool = False) -> None:
        self.pids: list[int] = []
        self._masked = [signal.SIGQUIT] if is_deaf else []

    def start_beside(self, name: str, run: object, command: list[str]) -> int:
        self.pids.append(os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ, setsigmask=self._masked))
        return self.pids[-1]


class Case:
    """An exporter on a clock that the test moves."""

    def __init__(self, directory: Path, *, is_deaf: bool = False) -> None:
        self.now_s = 0.0
        self.started = Started(is_deaf=is_deaf)
        self.directory = directory / "metrics"
        self.directory.mkdir()
        launcher = cast(Launcher, self.started)
        self.exporter = Exporter(launcher, lambda: 0, ["true"], self.directory, clock=self.clock)

    def clock(self) -> float:
        self.now_s += 0.01
        return self.now_s

    def look(self) -> list[int]:
        self.exporter.look()
        return self.started.pids


def test_it_is_started_once_and_again_when_it_has_died(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = Case(tmp_path)
    case.look()
    (pid,) = case.look()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: case.look() and caplog.text, "its end is noticed")
    assert case.look() == [pid]
    case.now_s += AGAIN_S
    assert len(case.look()) == 2
    assert "the process that serves metrics ended (-9); it starts again in 1 s" in caplog.text
    case.exporter.end()
    assert not is_alive(case.started.pids[1])


@pytest.mark.parametrize("is_deaf", [False, True])
def test_its_end_leaves_neither_process_nor_files_even_if_it_does_not_listen(tmp_path: Path, is_deaf: bool) -> None:
    case = Case(tmp_path, is_deaf=is_deaf)
    (pid,) = case.look()
    case.exporter.end()
    assert not is_alive(pid)
    assert not case.directory.exists()
    case.exporter.end()


def test_a_look_shows_that_the_supervisor_is_at_work_and_never_fails(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.look()
    assert is_supervised(case.directory)
    case.exporter.end()
    case.look()
    case.exporter.end()


def test_files_are_kept_from_looking_old_every_hour(tmp_path: Path) -> None:
    case = Case(tmp_path)
    live = case.directory / "live_1"
    live.touch()
    times_s = []
    for wait_s in (0.0, YOUNG_S / 2, YOUNG_S):
        case.now_s += wait_s
        os.utime(live, (1, 1))
        case.look()
        times_s.append(live.stat().st_mtime)
    case.exporter.end()
    assert [time_s > 1 for time_s in times_s] == [True, False, True]


def test_a_services_own_directory_is_used_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_service, temporary = tmp_path / "service", tmp_path / "tmp"
    of_service.mkdir()
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv(DIRECTORY_VARIABLE, "")
    parents = []
    for variable in (f"{of_service}:{tmp_path}", str(tmp_path / "gone"), ""):
        monkeypatch.setenv("RUNTIME_DIRECTORY", variable)
        parents.append(MetricsPlace.prepare("127.0.0.1", 0).directory.parent)
    assert parents == [of_service, temporary, temporary]


def test_the_place_says_where_to_look(tmp_path: Path) -> None:
    assert MetricsPlace(tmp_path, "::1", 9464).url == "http://[::1]:9464/metrics"
    assert MetricsPlace(tmp_path, "10.0.0.1", 9464).url == "http://10.0.0.1:9464/metrics"
