"""Reads a caller's iterable in a thread of its own, and writes it to disk row by row, a little ahead of what is fed.

The iterable may be endless, slow, or block for ever: nothing waits for it but this thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from keyfleet.batch import durable
from keyfleet.batch.lines import InputLine, InputLines
from keyfleet.fleet_jobs.folder import InputEnd, JobFolder
from keyfleet.fleet_jobs.job_async import AsyncRows
from keyfleet.fleet_jobs.rows import RowId, RowWriter

__all__ = ["Intake", "SpooledLines"]

logger = logging.getLogger(__name__)

AHEAD_ROWS = 512
AHEAD_BYTES = 8 * 1024 * 1024
"""How far reading goes ahead of feeding, whichever is less: what is read is bounded by what is under way."""

FULL_S = 0.5
"""Pause before writing again where the disk is full (s)."""


class Intake:
    """The rows of one job. `start` begins to read; `lines` are what can be fed. `end` is set when nothing more comes.

    `failure` is what the iterable has raised.
    """

    def __init__(self, requests: Iterable[object], row_id: RowId, folder: JobFolder) -> None:
        self._requests = requests
        self._writer = RowWriter(row_id)
        self._folder = folder
        self._changed = threading.Condition()
        self._written_bytes = 0
        self._synced_bytes = 0
        self._fed_rows = self._fed_bytes = 0
        self._stopping = False
        self._is_full = False
        self._fd = durable.open_for_append(folder.input)
        self.rows = 0
        self.end: InputEnd | None = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="keyfleet-intake", daemon=True)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the rows still come from, if one."""
        return self._requests.loop if isinstance(self._requests, AsyncRows) else None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more. Doesn't wait for an iterable that blocks: what it gives from now on is dropped."""
        with self._changed:
            self._stopping = True
            if self.end is None:
                self._finish(is_complete=False)
            self._changed.notify_all()
        if isinstance(self._requests, AsyncRows):
            self._requests.stop()

    def sync(self) -> None:
        """What was written is on the disk itself from now on: accepted requests survive a power cut with their rows."""
        with self._changed:
            written = self._written_bytes
        if written > self._synced_bytes:
            durable.sync(self._fd)
            self._synced_bytes = written

    def note_fed(self, rows: int, end_offset: int) -> None:
        """So much was fed; there is room for more."""
        self._fed_rows, self._fed_bytes = rows, end_offset
        if self.rows - rows < AHEAD_ROWS // 2:
            with self._changed:
                self._changed.notify_all()

    def close(self) -> None:
        """Let go of the file, after `stop`."""
        with self._changed:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _run(self) -> None:
        try:
            self._read(iter(self._requests))
        except BaseException as error:
            self._fail(error)
        else:
            self._fail(None)
        finally:
            self._requests = ()  # the job may be remembered for long

    def _read(self, rows: Iterator[object]) -> None:
        try:
            while self._wait_for_room():
                row = next(rows, _END)
                if row is _END:
                    return
                self._write(self._writer.line(row))
        finally:
            if isinstance(rows, Generator):  # so that what it has opened is closed, here rather than at some time
                rows.close()

    def _fail(self, error: BaseException | None) -> None:
        with self._changed:
            if self.end is None:
                self.failure = error
                self._finish(is_complete=error is None)
            self._changed.notify_all()

    def _finish(self, *, is_complete: bool) -> None:
        error = type(self.failure).__name__ if self.failure is not None else ""
        self.end = InputEnd(self.rows, is_complete, error)
        try:
            if is_complete or error:  # what was only stopped shows by the lack of this file
                durable.sync(self._fd)
                self._folder.write_end(self.end)
        except OSError as failed:
            logger.warning("%s: can't be written: %s", self._folder.path, failed.strerror)

    def _wait_for_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._has_room())
            return not self._stopping

    def _has_room(self) -> bool:
        ahead_bytes = self._written_bytes - self._fed_bytes
        return self.rows - self._fed_rows < AHEAD_ROWS and ahead_bytes < AHEAD_BYTES

    def _write(self, line: bytes) -> None:
        """Append a line, waiting while the disk is full. Raises OSError."""
        if not line:
            return
        with self._changed:
            while not self._stopping:
                try:
                    durable.append(self._fd, line)
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    with contextlib.suppress(OSError):
                        durable.cut(self._fd, self._written_bytes)
                    if not self._is_full:
                        logger.warning("%s is full; reading goes on when there is room", self._folder.path)
                    self._is_full = True
                    self._changed.wait(FULL_S)
                else:
                    self._is_full = False
                    self._written_bytes += len(line)
                    self.rows += 1
                    return


_END = object()


class SpooledLines(InputLines):
    """The lines that an intake has written so far, with more to come until it has ended."""

    def __init__(self, path: Path, intake: Intake) -> None:
        stream = path.open("rb")
        super().__init__(str(path), stream, stream, path)
        self._intake = intake

    @property
    def is_at_end(self) -> bool:
        end = self._intake.end
        return end is not None and self._number >= end.rows

    def _read_line(self) -> InputLine | None:
        if self._number >= self._intake.rows:
            return None
        line = super()._read_line()
        if line is not None:
            self._intake.note_fed(line.number, line.end_offset)
        return line
