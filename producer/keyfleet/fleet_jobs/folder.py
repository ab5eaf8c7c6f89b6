"""A job's directory: what the job is, the requests as they were read, and the results.

It lies in `<state_dir>/jobs/<job id>/` and is its owner's alone, since prompts and answers are in it. It is all that
another process needs to read the results, or to finish the job.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from keyfleet.batch import durable
from keyfleet.batch.job_paths import JobPaths
from keyfleet.errors import InputError

__all__ = ["InputEnd", "JobFolder", "JobSpec", "all_folders"]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job is. `deadline_s` and `begun_s` are seconds since the epoch. `fleet` is where its requests were last
    accepted, `is_embedded` whether on this machine's embedded server. An `ephemeral` job goes with its last result.
    `retry_fleet` is where requests of its last retry were accepted. `server` is the address of the broker, without
    secrets, and `server_id` the name that it was given; both are empty before anything was accepted.
    """

    job_id: str
    fleet: str
    host: str
    begun_s: float
    name: str = ""
    endpoint: str | None = None
    ordered: bool = False
    window: int | None = None
    priority: Literal["urgent", "bulk"] = "bulk"
    deadline_s: float | None = None
    pack: bool = False
    is_embedded: bool = False
    is_ephemeral: bool = False
    retry_fleet: str = ""
    server: str = ""
    server_id: str = ""


@dataclass(frozen=True, slots=True)
class InputEnd:
    """How reading the caller's iterable ended, after `rows` requests. `error` names the exception that ended it."""

    rows: int
    is_complete: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job. Methods that read raise InputError for what is missing or damaged."""

    path: Path

    @property
    def input(self) -> Path:
        """The requests, one a line (`rows`)."""
        return self.path / "input.jsonl"

    @property
    def results(self) -> Path:
        """The results, one a line (`batch.whole_rows`), as far as the journal says."""
        return self.path / "results.jsonl"

    @property
    def paths(self) -> JobPaths:
        """The results, and what is kept beside them."""
        return JobPaths.for_format(self.results, "fleet")

    @property
    def _spec(self) -> Path:
        return self.path / "job.json"

    @property
    def _end(self) -> Path:
        return self.path / "input.end.json"

    @property
    def _cancel(self) -> Path:
        return self.path / "cancelled"

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has cancelled the job, whoever runs it, now or later."""
        return self._cancel.exists()

    def remember_cancel(self) -> None:
        """Nothing more of the job is sent, also by a program that goes on with it. Raises InputError."""
        try:
            os.close(durable.open_for_append(self._cancel))
            durable.sync_directory(self.path)
        except OSError as error:
            if self.path.exists():
                raise InputError(f"{self._cancel}: can't be written: {error.strerror}") from error

    def forget_cancel(self) -> None:
        """What is sent of the job from now on was asked for after it was cancelled."""
        durable.remove(self._cancel)

    @property
    def is_begun(self) -> bool:
        """Whether it says what its job is; before that nobody else may touch it."""
        return self._spec.exists()

    def create(self) -> None:
        """Make the directory, with nothing read yet. `write_spec` makes it a job's, once the job is locked."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.mkdir(mode=0o700)
            self.path.chmod(0o700)
            os.close(durable.open_for_append(self.input))
            durable.sync_directory(self.path.parent)
        except OSError as error:
            raise InputError(f"{self.path}: a job can't be kept there: {error.strerror}") from error

    def write_spec(self, spec: JobSpec) -> None:
        """Say what the job is, in one step."""
        _write(self._spec, asdict(spec))

    def spec(self) -> JobSpec:
        """What the job is."""
        found = _read(self._spec)
        try:
            return JobSpec(**{entry.name: found[entry.name] for entry in fields(JobSpec) if entry.name in found})
        except TypeError as error:
            raise InputError(f"{self._spec}: is no description of a job") from error

    def write_end(self, end: InputEnd) -> None:
        """Say that nothing more is read."""
        _write(self._end, asdict(end))

    def end(self) -> InputEnd | None:
        """How reading ended; None where it has not, or was cut off."""
        if not self._end.exists():
            return None
        try:
            return InputEnd(**_read(self._end))
        except TypeError as error:
            raise InputError(f"{self._end}: doesn't say how reading ended") from error

    def mend_input(self) -> int:
        """Cut off a last row that was half written when its program was killed; returns how many rows there are."""
        fd = durable.open_for_append(self.input)
        try:
            rows = end = position = 0
            with self.input.open("rb") as file:
                for line in file:
                    position += len(line)
                    if line.endswith(b"\n"):
                        rows, end = rows + 1, position
            if end != position:
                durable.cut(fd, end)
            durable.sync(fd)
            return rows
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove everything. What can't be removed is left for the next sweep."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def touched_s(self) -> float:
        """When the job was last written to, in seconds since the epoch."""
        times = [path.stat().st_mtime for path in (self.path, self.paths.journal, self.input) if path.exists()]
        return max(times, default=time.time())


def all_folders(state_dir: Path) -> list[JobFolder]:
    """All directories of jobs, those too that have only just been made."""
    parent = state_dir / "jobs"
    if not parent.is_dir():
        return []
    return [JobFolder(path) for path in sorted(parent.iterdir()) if path.is_dir()]


def _write(path: Path, document: dict[str, Any]) -> None:
    fresh = path.with_name(path.name + ".new")
    durable.remove(fresh)
    fd = durable.open_for_append(fresh)
    try:
        durable.append(fd, json.dumps(document).encode() + b"\n")
        durable.sync(fd)
    finally:
        os.close(fd)
    durable.rename(fresh, path)
    durable.sync_directory(path.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is damaged: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: is damaged: expected an object")
    return found
