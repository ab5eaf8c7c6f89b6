"""Worker processes hand over their metrics through files; what is dead there is told from what lives."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from keyfleet_workers.metrics import directory as directory_module
from keyfleet_workers.metrics.counted_files import CountedFiles
from keyfleet_workers.metrics.directory import (
    Claim,
    fold_dead,
    is_supervised,
    keep_young,
    live_workers,
    note_supervisor,
)
from keyfleet_workers.metrics.disk_room import FIRST_BYTES
from keyfleet_workers.metrics.opening import meter_in

PROGRAM = Path(__file__).parents[1] / "support" / "metered_program.py"

SLOW_LOOK_UP_S = 60
"""glibc asks three name servers twice for 5 s each, and again with a search domain (s)."""

StartWorker = Callable[[str, int], "Metered"]


class Metered:
    """A process that has counted some calls."""

    def __init__(self, directory: Path, key_name: str, calls: int) -> None:
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
        command = [sys.executable, str(PROGRAM), str(directory), key_name, str(calls)]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        assert self._read() == "counted"

    def end_serving(self) -> None:
        assert self._tell("end") == "ended"

    def call_models(self, count: int) -> None:
        """One call of each of so many models with long names."""
        assert self._tell(f"models {count}") == "called"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _tell(self, what: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartWorker]:
    started: list[Metered] = []

    def start(key_name: str, calls: int) -> Metered:
        started.append(Metered(tmp_path, key_name, calls))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def value(directory: Path, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(CountedFiles(directory))
    return registry.get_sample_value(f"keyfleet_{name}", labels)


def calls_of(directory: Path, key_name: str) -> float | None:
    return value(directory, "calls_total", key=key_name, model="m", result="success")


def test_processes_add_up(tmp_path: Path, start: StartWorker) -> None:
    start("one", 2)
    start("one", 3)
    start("two", 4)
    assert (calls_of(tmp_path, "one"), calls_of(tmp_path, "two")) == (5, 4)
    assert value(tmp_path, "workers", key="one") == 2
    assert value(tmp_path, "calls_in_flight", key="one") == 5
    assert value(tmp_path, "provider_latency_seconds_count", model="m") == 9
    assert live_workers(tmp_path) == ["one:host", "one:host", "two:host"]


def test_of_a_process_that_was_killed_the_counts_stay_and_nothing_else(tmp_path: Path, start: StartWorker) -> None:
    gone, _ = start("one", 2), start("one", 3)
    gone.kill()
    assert live_workers(tmp_path) == ["one:host"]
    fold_dead(tmp_path)
    assert calls_of(tmp_path, "one") == 5
    assert (value(tmp_path, "workers", key="one"), value(tmp_path, "calls_in_flight", key="one")) == (1, 3)
    assert value(tmp_path, "provider_latency_seconds_bucket", model="m", le="0.25") == 5
    assert [path.name for path in tmp_path.iterdir() if str(gone.pid) in path.name] == []


def test_the_directory_does_not_grow_with_processes_that_come_and_go(tmp_path: Path, start: StartWorker) -> None:
    sizes = []
    for _ in range(3):
        start("one", 1).kill()
        fold_dead(tmp_path)
        sizes.append((len(list(tmp_path.iterdir())), sum(path.stat().st_size for path in tmp_path.iterdir())))
    assert sizes[0] == sizes[1] == sizes[2]
    assert calls_of(tmp_path, "one") == 3


def test_a_worker_that_ends_serves_no_longer_while_its_calls_go_on(tmp_path: Path, start: StartWorker) -> None:
    worker = start("one", 1)
    worker.end_serving()
    assert live_workers(tmp_path) == []
    fold_dead(tmp_path)
    assert value(tmp_path, "calls_in_flight", key="one") == 1


def test_a_process_with_the_number_of_a_dead_one_is_not_taken_for_it(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pid = os.getpid()
    (tmp_path / f"live_{pid}").write_text("who was here before")
    (tmp_path / f"gauge_livesum_{pid}.db").write_bytes(b"")
    claim = Claim(tmp_path)
    request.addfinalizer(claim._file.close)
    assert live_workers(tmp_path) == []
    assert not (tmp_path / f"gauge_livesum_{pid}.db").exists()
    claim.say("one:host")
    assert live_workers(tmp_path) == ["one:host"]
    fold_dead(tmp_path)
    assert (tmp_path / f"live_{pid}").exists()


def test_a_supervisor_that_does_nothing_for_long_counts_as_hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_supervised(tmp_path)
    note_supervisor(tmp_path)
    assert is_supervised(tmp_path)
    noted_ns = time.monotonic_ns()
    monkeypatch.setattr("time.monotonic_ns", lambda: noted_ns + round(2 * SLOW_LOOK_UP_S * 1e9))
    assert is_supervised(tmp_path), "looking up the broker's name takes long while name servers are silent"
    later_ns = noted_ns + round(directory_module.SUPERVISOR_SILENT_S * 1e9)
    monkeypatch.setattr("time.monotonic_ns", lambda: later_ns)
    assert not is_supervised(tmp_path)


def sparse_files(directory: Path) -> list[str]:
    """The files that lack room on the disk for a part of what is mapped into memory."""
    found = ((path.name, path.stat()) for path in directory.glob("*.db"))
    return [name for name, stat in found if stat.st_blocks * 512 < stat.st_size]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system can't set room on a disk aside")
def test_the_disk_has_room_for_all_that_is_mapped_before_a_worker_begins(tmp_path: Path, start: StartWorker) -> None:
    start("one", 0)
    assert {path.name.rpartition("_")[0] for path in tmp_path.glob("*.db")} == {"counter", "histogram", "gauge_livesum"}
    assert sparse_files(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system can't set room on a disk aside")
def test_room_on_the_disk_grows_before_files_do(tmp_path: Path, start: StartWorker) -> None:
    worker = start("one", 1)
    worker.call_models(150)
    (histograms,) = tmp_path.glob("histogram_*.db")
    assert histograms.stat().st_size >= 4 * FIRST_BYTES
    assert sparse_files(tmp_path) == []
    worker.kill()
    fold_dead(tmp_path)
    assert sparse_files(tmp_path) == []
    assert value(tmp_path, "calls_total", key="one", model="é" * 190 + "149", result="success") == 1


def test_a_disk_without_room_means_no_meter_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(OSError, match="No space left"):
        meter_in(tmp_path, "one")
    assert list(tmp_path.glob("*.db")) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("counter_999999.db", b""),
        ("counter_gone.db", b"\x00"),
        ("histogram_gone.db", struct.pack("i", 1 << 30)),
        ("histogram_999999.db", struct.pack("iii", 40, 0, 4000).ljust(64, b"\0")),
        ("gauge_livesum_{pid}.db", struct.pack("iii", 40, 0, 4).ljust(64, b"x")),
    ],
)
def test_a_broken_file_is_left_out_and_spoils_nothing_else(
    tmp_path: Path, start: StartWorker, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    start("one", 2).kill()
    path = tmp_path / name.format(pid=start("one", 3).pid)
    path.write_bytes(content)
    fold_dead(tmp_path)
    assert calls_of(tmp_path, "one") == 5
    assert value(tmp_path, "provider_latency_seconds_count", model="m") == 5
    assert f"{path.name} of the metrics is broken" in caplog.text
    assert name.endswith("gone.db") or not path.exists()


def test_counts_of_a_dead_process_stay_where_they_are_while_the_disk_is_full(
    tmp_path: Path, start: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("one", 2).kill()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse, raising=False)
        fold_dead(tmp_path)
    assert list(tmp_path.glob("*_gone.db")) == []
    assert calls_of(tmp_path, "one") == 2
    fold_dead(tmp_path)
    assert [path.name for path in tmp_path.glob("counter_*")] == ["counter_gone.db"]
    assert calls_of(tmp_path, "one") == 2


def test_no_file_of_a_long_lived_worker_ever_looks_old(tmp_path: Path, start: StartWorker) -> None:
    start("one", 1)
    note_supervisor(tmp_path)
    kept = [tmp_path, *(path for path in tmp_path.iterdir() if path.name != directory_module.SUPERVISOR)]
    for path in kept:
        os.utime(path, (1, 1))
    began_s = time.time() - 60
    keep_young(tmp_path)
    assert [path for path in kept if min(path.stat().st_mtime, path.stat().st_atime) < began_s] == []
    assert is_supervised(tmp_path)
