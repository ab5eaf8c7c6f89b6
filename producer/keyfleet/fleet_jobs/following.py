"""How a job stands by its files, whoever runs it: this process, another, or nobody."""

from __future__ import annotations

import threading
from dataclasses import replace
from enum import Enum, auto

from keyfleet.batch.journal import read_header
from keyfleet.errors import InputError
from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.fleet_jobs.journal_tail import JournalTail, is_locked
from keyfleet.fleet_jobs.runner import JobRunner

__all__ = ["JobFiling", "Standing", "is_in_use", "open_retry_of"]

PIECE_BYTES = 1024 * 1024


def is_in_use(folder: JobFolder) -> bool:
    """Whether some process has the job's files open, of a retry too."""
    return is_locked(folder.paths.journal) or is_locked(folder.paths.retry().journal)


def open_retry_of(folder: JobFolder, spec: JobSpec) -> JobSpec | None:
    """A job's retry that was begun and isn't over, by the names that the ledger knows it by; None where none is."""
    journal = folder.paths.retry().journal
    if not journal.exists():
        return None
    try:
        header = read_header(journal)
    except InputError:  # it was killed before anything was sent
        return None
    return replace(spec, job_id=header.job_id, fleet=spec.retry_fleet or spec.fleet)


class Standing(Enum):
    """Who runs a job now. `IDLE`: nobody, though it isn't done."""

    HERE = auto()
    ELSEWHERE = auto()
    IDLE = auto()
    DONE = auto()


class JobFiling:
    """Reads what a job's files say by now. For any thread."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._tail = JournalTail(folder.paths.journal)

    def counts(self, runner: JobRunner | None) -> JobCounts:
        """How many requests there are and how they ended. Raises InputError where the files are damaged."""
        with self._lock:
            intake = runner.task.intake if runner is not None else None
            end = self.folder.end()
            self._look()
            rows = intake.rows if intake is not None else end.rows if end is not None else self._rows()
            return self._tail.counts(rows, is_complete=end is not None and end.is_complete)

    def standing(self, runner: JobRunner | None) -> Standing:
        """Who runs it. Raises InputError where the files are damaged."""
        if runner is not None and not runner.is_over:
            return Standing.HERE
        locked = is_locked(self.folder.paths.journal)
        with self._lock:
            self._look()
            if self._tail.is_done:
                return Standing.DONE
        return Standing.ELSEWHERE if locked else Standing.IDLE

    def _look(self) -> None:
        self._tail.look()
        if self._tail.is_replaced:
            self._tail = JournalTail(self.folder.paths.journal)
            self._tail.look()

    def _rows(self) -> int:
        """How many whole rows the input has, counted behind what the journal knows of."""
        rows = self._tail.fed_rows
        if not self.folder.input.exists():
            return rows
        with self.folder.input.open("rb") as file:
            file.seek(self._tail.fed_bytes)
            while piece := file.read(PIECE_BYTES):
                rows += piece.count(b"\n")
        return rows
