"""Killed between any two system calls, or out of power: every line ends exactly once, none torn, none paid twice.

A run is driven over a layer of system calls that stops at a given one, half way through it where it writes. After a
kill the files stand as they are; after a power loss, bytes that were not synced are gone, any number of them.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfleet.batch import durable, writer
from keyfleet.batch.formats import Row, blank_row
from keyfleet.batch.job import JobFiles, JobOptions, NothingToDo, open_job
from keyfleet.batch.retry_failed import RetryJob, open_retry

BLANK = (4, 9)
LINES = 12
KINDS = [(line_format, ordered) for line_format in ("bare", "batch") for ordered in (False, True)]
CALLS = ("append", "sync", "cut", "rename", "remove", "sync_directory", "open_for_append")


class Killed(BaseException):
    """The process is gone."""


class Disk:
    """Counts system calls and stops at the one numbered `stop_at`, before it or, where `late`, half way or after."""

    def __init__(self, chance: random.Random) -> None:
        self.calls = 0
        self.stop_at: int | None = None
        self.late = False
        self.chance = chance
        self.synced_bytes: dict[int, int] = {}

    def stop(self, at: int | None, *, late: bool = False) -> None:
        self.calls, self.stop_at, self.late = 0, at, late

    @contextmanager
    def in_place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patched:
            for name in CALLS:
                patched.setattr(durable, name, self._counted(name, getattr(durable, name)))
            patched.setattr(writer, "RELEASE_PIECE_BYTES", 40)
            yield

    def _counted(self, name: str, real: Any) -> Any:
        def call(*args: Any) -> Any:
            self.calls += 1
            if self.calls == self.stop_at:
                if self.late and name == "append":
                    real(args[0], args[1][: self.chance.randint(0, len(args[1]))])
                elif self.late:
                    self._note(name, args)
                    real(*args)
                raise Killed
            self._note(name, args)
            return None if name.startswith("sync") else real(*args)

        return call

    def _note(self, name: str, args: Any) -> None:
        if name in ("sync", "cut"):
            status = os.fstat(args[0])
            length = status.st_size if name == "sync" else min(args[1], self.synced_bytes.get(status.st_ino, 0))
            self.synced_bytes[status.st_ino] = length
        gone = args[-1] if name in ("remove", "rename") else None
        if gone is not None and gone.exists():
            self.synced_bytes.pop(gone.stat().st_ino, None)

    def lose_power(self, directory: Path) -> None:
        for path in directory.iterdir():
            status = path.stat()
            if path.name != "in.jsonl":
                synced = min(self.synced_bytes.get(status.st_ino, 0), status.st_size)
                os.truncate(path, self.chance.randint(synced, status.st_size))


class Play:
    """One job through any number of kills. `settled` remembers which run each line's row was durable in."""

    def __init__(self, directory: Path, line_format: str, ordered: bool, seed: int) -> None:
        self.directory = directory
        self.source = directory / "in.jsonl"
        self.output = directory / "out.jsonl"
        self.batch = line_format == "batch"
        self.options = JobOptions(ordered=ordered)
        self.chance = random.Random(seed)
        self.disk = Disk(self.chance)
        self.settled: dict[int, int] = {}
        self.runs = 0
        text = '{"custom_id": "%d", "body": {}}\n' if self.batch else '{"model": "m", "input": "%d"}\n'
        lines = ("\n" if number in BLANK else text % number for number in range(1, LINES + 1))
        self.source.write_text("".join(lines))

    def open(self, *, retry: bool) -> JobFiles | RetryJob | NothingToDo:
        return (open_retry if retry else open_job)(str(self.source), self.output, self.options)

    def run(self, *, retry: bool = False, failing: tuple[int, ...] = (2, 7)) -> None:
        """One process, from start to end or to its kill."""
        self.runs += 1
        files: JobFiles | RetryJob | NothingToDo | None = None
        try:
            with self.disk.in_place():
                files = self.open(retry=retry)
                if not isinstance(files, NothingToDo):
                    self._collect(files, failing)
        finally:
            if files is not None and not isinstance(files, NothingToDo):
                files.close()  # only closes descriptors, as the end of a process does

    def _collect(self, files: JobFiles | RetryJob, failing: tuple[int, ...]) -> None:
        rows = []
        for line in files.lines:
            if line.blank:
                rows.append(blank_row(line.number))
            elif files.wants(line.number):
                assert isinstance(files, RetryJob) or line.number not in self.settled
                failed = line.number in failing
                text = json.dumps([line.number, self.runs, failed, "x" * self.chance.randint(0, 30)])
                rows.append(Row(line.number, failed, text.encode() + b"\n"))
        if isinstance(files, RetryJob):
            rows = [row for row in rows if row.data]
        fed = files.lines.fingerprint_at()
        self.chance.shuffle(rows)
        while rows:
            group, rows = rows[:3], rows[3:]
            for row in group:
                self.settled.pop(row.line_number, None)  # unknown until writing returns
            files.writer.write(group, fed)
            self.settled.update({row.line_number: self.runs for row in group if row.data})
        files.finish(fed)

    def check(self, failing: tuple[int, ...]) -> None:
        numbers = [number for number in range(1, LINES + 1) if number not in BLANK]
        rows = [json.loads(text) for text in self.output.read_text().splitlines()]
        errors_path = self.directory / "out.errors.jsonl"
        assert errors_path.exists() == (self.batch and bool(failing))
        errors = [json.loads(text) for text in errors_path.read_text().splitlines()] if errors_path.exists() else []
        assert sorted(row[0] for row in rows + errors) == numbers
        if self.options.ordered:
            assert [row[0] for row in rows] == sorted(row[0] for row in rows)
            assert [row[0] for row in errors] == sorted(row[0] for row in errors)
        assert [row[0] for row in errors] == ([] if not self.batch else [row[0] for row in errors if row[2]])
        assert {row[0] for row in rows + errors if row[2]} == set(failing)
        for number, run, *_ in rows + errors:
            assert self.settled.get(number, run) == run
        left = {path.name for path in self.directory.iterdir()} - {"out.errors.jsonl"}
        assert left == {"in.jsonl", "out.jsonl", "out.jsonl.keyfleet"}


def until_done(play: Play, stops: list[tuple[int, bool, bool]], *, retry: bool, failing: tuple[int, ...]) -> None:
    """Kill at each of `stops` (system call, late, with power loss), then let it run to the end."""
    for stop_at, late, power in stops:
        play.disk.stop(stop_at, late=late)
        try:
            play.run(retry=retry, failing=failing)
        except Killed:
            if power:
                play.disk.lose_power(play.directory)
    play.disk.stop(None)
    play.run(retry=retry, failing=failing)


def calls_of_a_run(line_format: str, ordered: bool, *, retry: bool) -> int:
    with tempfile.TemporaryDirectory() as directory:
        play = Play(Path(directory), line_format, ordered, seed=1)
        until_done(play, [], retry=False, failing=(2, 7))
        if retry:
            until_done(play, [], retry=True, failing=(7,))
        return play.disk.calls


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("line_format", "ordered"), KINDS)
def test_a_kill_at_any_system_call_loses_and_doubles_nothing(line_format: str, ordered: bool, late: bool) -> None:
    total = calls_of_a_run(line_format, ordered, retry=False)
    assert total > 20
    for stop_at in range(1, total + 1):
        for power in (False, True):
            with tempfile.TemporaryDirectory() as directory:
                play = Play(Path(directory), line_format, ordered, seed=1)
                until_done(play, [(stop_at, late, power)], retry=False, failing=(2, 7))
                play.check((2, 7))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("line_format", "ordered"), KINDS)
def test_a_kill_anywhere_in_a_retry_leaves_old_or_new_outcomes(line_format: str, ordered: bool, late: bool) -> None:
    total = calls_of_a_run(line_format, ordered, retry=True)
    assert total > 20
    for stop_at in range(1, total + 1):
        with tempfile.TemporaryDirectory() as directory:
            play = Play(Path(directory), line_format, ordered, seed=1)
            until_done(play, [], retry=False, failing=(2, 7))
            until_done(play, [], retry=True, failing=(2, 7))  # so that an earlier merge must not be taken up again
            until_done(play, [(stop_at, late, bool(stop_at % 2))], retry=True, failing=(7,))
            play.check((7,))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10**6),
    stops=st.lists(st.tuples(st.integers(1, 70), st.booleans(), st.booleans()), min_size=2, max_size=5),
    retries=st.lists(st.tuples(st.integers(1, 70), st.booleans(), st.booleans()), max_size=4),
)
def test_any_number_of_kills_loses_and_doubles_nothing(
    kind: tuple[str, bool],
    seed: int,
    stops: list[tuple[int, bool, bool]],
    retries: list[tuple[int, bool, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        play = Play(Path(directory), *kind, seed=seed)
        until_done(play, stops, retry=False, failing=(1, 2, 7, 12))
        play.check((1, 2, 7, 12))
        until_done(play, retries, retry=True, failing=())
        play.check(())


def relied_on(play: Play) -> set[int]:
    """What a process that opens the job takes for written (all lines, if there is nothing to do)."""
    with play.disk.in_place():
        files = play.open(retry=False)
    if isinstance(files, NothingToDo):
        return set(range(1, LINES + 2))
    files.close()
    return set(files.written)


@pytest.mark.parametrize(("line_format", "ordered"), KINDS)
def test_what_a_killed_run_had_not_synced_is_synced_before_it_is_relied_on(line_format: str, ordered: bool) -> None:
    for stop_at in range(1, calls_of_a_run(line_format, ordered, retry=False) + 1):
        with tempfile.TemporaryDirectory() as directory:
            play = Play(Path(directory), line_format, ordered, seed=1)
            play.disk.stop(stop_at)
            with pytest.raises(Killed):
                play.run()
            play.disk.stop(None)
            before = relied_on(play)
            play.disk.lose_power(play.directory)
            assert relied_on(play) >= before
