"""How a job stands by its files, whoever runs it: this process, another, or nobody."""

from __future__ import annotations

import threading
from enum import Enum, auto

from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.folder import JobFolder
from keyfleet.fleet_jobs.journal_tail import JournalTail, is_locked
from keyfleet.fleet_jobs.runner import JobRunner

__all__ = ["JobFiling", "Standing"]

PIECE_BYTES = 1024 * 1024


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
