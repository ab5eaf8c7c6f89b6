"""Reading a caller's iterable beside everything else, a little ahead of what is fed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyfleet.batch import durable
from keyfleet.fleet_jobs import intake as intake_module
from keyfleet.fleet_jobs.folder import InputEnd, JobFolder
from keyfleet.fleet_jobs.intake import Intake, SpooledLines
from support.events import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    found = JobFolder(tmp_path / "jobs" / "aa11")
    found.create()
    return found


class Case:
    """An intake with its lines, closed at the end."""

    def __init__(self, folder: JobFolder, requests: Iterable[object]) -> None:
        self.intake = Intake(requests, None, folder)
        self.lines = SpooledLines(folder.input, self.intake)

    def __enter__(self) -> Case:
        self.intake.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.intake.stop()
        self.lines.close()
        self.intake.close()

    def wait_for_end(self) -> InputEnd:
        found = wait_until(lambda: self.intake.end, "everything is read")
        assert found is not None
        return found

    def is_at_end(self) -> bool:
        return self.lines.is_at_end

    def read_to_end(self) -> list[int]:
        found: list[int] = []

        def is_at_end() -> bool:
            found.extend(line.number for line in self.lines)
            return self.lines.is_at_end

        wait_until(is_at_end, "every line is read")
        return found


def test_every_row_becomes_a_line_and_the_end_is_told(folder: JobFolder) -> None:
    with Case(folder, ({"n": number} for number in range(2000))) as case:
        assert case.read_to_end() == list(range(1, 2001))
        assert case.intake.end == InputEnd(2000, True)
        assert folder.end() == InputEnd(2000, True)
        assert case.lines.fingerprint_at().line_number == 2000


def test_reading_goes_only_a_little_ahead_of_feeding(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "AHEAD_ROWS", 10)
    pulled: list[int] = []

    def rows() -> Iterator[Any]:
        for number in range(100):
            pulled.append(number)
            yield {"n": number}

    with Case(folder, rows()) as case:
        wait_until(lambda: case.intake.rows == 10, "it has read ahead")
        assert next(case.lines).number == 1
        assert len(pulled) <= 11
        for _ in range(8):
            next(case.lines)
        wait_until(lambda: case.intake.rows == 19, "it has read on")
        assert len(pulled) <= 20


def test_large_rows_are_bounded_in_bytes(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "AHEAD_BYTES", 1000)
    with Case(folder, ({"text": "x" * 600} for _ in range(100))) as case:
        wait_until(lambda: case.intake.rows == 2, "it has read ahead")
        next(case.lines)
        wait_until(lambda: case.intake.rows == 3, "it has read on")


def test_an_iterable_that_blocks_gives_what_there_is_and_is_left_behind(folder: JobFolder) -> None:
    go_on = threading.Event()

    def rows() -> Iterator[Any]:
        yield {"n": 1}
        go_on.wait(30)
        yield {"n": 2}

    with Case(folder, rows()) as case:
        wait_until(lambda: case.intake.rows == 1, "the first row is there")
        assert next(case.lines).number == 1
        assert next(case.lines, None) is None
        assert not case.is_at_end()
        case.intake.stop()
        assert case.is_at_end()
        assert case.intake.end == InputEnd(1, False)
        assert folder.end() is None  # what was only stopped may have had more
        go_on.set()
        case.intake._thread.join(30)
    assert folder.input.read_bytes().count(b"\n") == 1


def test_what_the_iterable_raises_ends_reading_and_is_kept(folder: JobFolder) -> None:
    def rows() -> Iterator[Any]:
        yield {"n": 1}
        raise LookupError("of the caller's")

    with Case(folder, rows()) as case:
        assert case.wait_for_end() == InputEnd(1, False, "LookupError")
        assert isinstance(case.intake.failure, LookupError)
        assert case.read_to_end() == [1]
    assert folder.end() == InputEnd(1, False, "LookupError")


def test_a_disk_that_is_full_is_waited_for_and_leaves_no_torn_row(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake_module, "FULL_S", 0.005)
    real, full = durable.append, [True, True, False]

    def append(fd: int, data: bytes) -> None:
        if full and full.pop(0):
            os.write(fd, data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, data)

    monkeypatch.setattr(durable, "append", append)
    with Case(folder, [{"n": 1}, {"n": 2}]) as case:
        assert case.read_to_end() == [1, 2]
    assert folder.mend_input() == 2
    assert caplog.text.count("is full; reading goes on when there is room") == 1


def test_rows_are_on_the_disk_before_they_are_accepted(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    go_on = threading.Event()

    def rows() -> Iterator[Any]:
        yield {"n": 1}
        go_on.wait(30)

    with Case(folder, rows()) as case:
        wait_until(lambda: case.intake.rows == 1, "the row is written")
        monkeypatch.setattr(durable, "sync", synced.append)
        case.intake.sync()
        case.intake.sync()
        assert len(synced) == 1  # and not again where nothing was added
        go_on.set()


def test_a_row_that_was_half_written_is_cut_off(folder: JobFolder) -> None:
    folder.input.write_bytes(b'{"index": 0}\n{"index": 1}\n{"ind')
    assert folder.mend_input() == 2
    assert folder.input.read_bytes() == b'{"index": 0}\n{"index": 1}\n'
