"""What a job's journal says by now, for those who only read: beside the process that writes it, or after it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from keyfleet.batch import journal_state
from keyfleet.batch.journal_state import RecordError
from keyfleet.contract import DEADLINE_EXCEEDED
from keyfleet.errors import InputError, JobCancelled
from keyfleet.fleet_jobs.counts import JobCounts

__all__ = ["JournalTail", "is_locked"]


def is_locked(path: Path) -> bool:
    """Whether some process runs the job of this journal now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class JournalTail:
    """Follows the records of a journal. For one thread. In memory: nothing that grows with the job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._offset = 0
        self._succeeded = self._failed = self._cancelled = self._expired = 0
        self.output_bytes = 0
        """How much of the results is whole and durable."""
        self.fed_rows = self.fed_bytes = 0
        """How much of the input was read when the last rows were written."""
        self._is_done = False
        self.is_unmerged = False
        """Whether a retry was ended in the midst of putting the new results in the places of the old: what the journal
        tells of stands in the merge's own file, as long as that is there."""
        self.is_replaced = False
        """Whether other results have taken the places of those that failed: this tail tells of the old ones."""

    @property
    def is_done(self) -> bool:
        """Whether every request has its result, and the results stand in their place."""
        return self._is_done and not self.is_unmerged

    def look(self) -> None:
        """Read what was recorded since the last look. Raises InputError where the journal is damaged."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            inode = os.fstat(file.fileno()).st_ino
            self.is_replaced = self._inode not in (None, inode)
            if self.is_replaced:
                return
            self._inode = inode
            file.seek(self._offset)
            for line in file:
                if not self._take_line(line):
                    return

    def counts(self, total: int, *, is_complete: bool) -> JobCounts:
        """How many requests have which result, out of `total`."""
        finished = self._succeeded + self._failed
        return JobCounts(
            max(total, finished), self._succeeded, self._failed, self._cancelled, self._expired, is_complete
        )

    def _take_line(self, line: bytes) -> bool:
        """Whether the line is whole: else it is still written, or its writer was killed."""
        try:
            record = journal_state.decode(line)
        except RecordError as error:
            if not line.endswith(b"\n"):
                return False
            raise InputError(f"{self._path}: the journal is damaged: {error}") from error
        self._offset += len(line)
        self._take(record)
        return True

    def _take(self, record: dict[str, Any]) -> None:
        if record["t"] == "b":
            self.output_bytes = int(record["o"])
            self._note_fed(record["in"])
            self._count(record)
            self._is_done = False
        elif record["t"] == "d":
            self._note_fed(record["in"])
            self._is_done = True
        elif record["t"] in ("h", "m"):
            self.is_unmerged = record["t"] == "h" and bool(record.get("replaces"))

    def _count(self, record: dict[str, Any]) -> None:
        failed = 0
        for reason, numbers in journal_state.failures_in(record):
            count = sum(1 for _ in numbers)
            failed += count
            self._cancelled += count * (reason == JobCancelled.code)
            self._expired += count * (reason == DEADLINE_EXCEEDED)
        self._failed += failed
        self._succeeded += sum(1 for _ in journal_state.written_in(record)) - failed

    def _note_fed(self, fed: list[Any]) -> None:
        self.fed_bytes, self.fed_rows = max(self.fed_bytes, int(fed[0])), max(self.fed_rows, int(fed[1]))
