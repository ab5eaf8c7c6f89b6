"""Reads a job's results from the first one on, as far as they are durable."""

from __future__ import annotations

import contextlib
from typing import BinaryIO

from keyfleet.batch.whole_rows import result_of_row
from keyfleet.errors import InputError
from keyfleet.fleet_jobs.folder import JobFolder
from keyfleet.fleet_jobs.journal_tail import JournalTail
from keyfleet.results import Result

__all__ = ["ResultReader"]

MOST_RESULTS = 200
MOST_BYTES = 4 * 1024 * 1024
"""How much one look brings, whichever is less."""


class ResultReader:
    """One pass over the results of a job. For one thread at a time."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._tail = JournalTail(folder.paths.journal)
        self._file: BinaryIO | None = None
        self._offset = 0
        self.is_at_end = False
        """Whether the job is done and every result was given."""

    def read(self) -> list[Result]:
        """The next results that are there now, some at a time. Raises InputError where the files are damaged."""
        if self._offset >= self._tail.output_bytes:
            self._tail.look()
            if self._tail.is_replaced:
                raise InputError(f"{self._folder.results}: has got other results meanwhile; iterate once more")
        results: list[Result] = []
        begun = self._offset
        while self._offset < self._tail.output_bytes and len(results) < MOST_RESULTS:
            if self._offset - begun > MOST_BYTES:
                break
            results.append(self._next())
        self.is_at_end = self._tail.is_done and self._offset >= self._tail.output_bytes
        return results

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        if self._tail.is_unmerged:
            with contextlib.suppress(FileNotFoundError):  # somebody has completed the merge by now
                return self._folder.paths.merged().output.open("rb")
        return self._folder.results.open("rb")

    def _next(self) -> Result:
        if self._file is None:
            self._file = self._open()
        row = self._file.readline()
        if not row.endswith(b"\n"):
            raise InputError(f"{self._folder.results}: is shorter than its journal says; it was changed or moved away")
        self._offset += len(row)
        try:
            return result_of_row(row)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._folder.results}: the row at byte {self._offset - len(row)} is damaged") from error
