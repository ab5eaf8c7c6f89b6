"""The sidecar file beside an output: what a run has written, so that the next one goes on where it stands.

Append-only; one record a line, each with a checksum and synced before the next. So at most the last record can be
torn, and then nothing relied on it: it is cut off. Damage anywhere else is an error. While a run uses the journal it
holds an exclusive `flock` on it, and no child process inherits that lock.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keyfleet.batch import durable, journal_state
from keyfleet.batch.journal_state import JOURNAL_VERSION, BatchRecord, JournalHeader, JournalState, RecordError
from keyfleet.batch.lines import Fed
from keyfleet.errors import InputError

__all__ = ["Journal", "read_header"]

HEADER_BYTES_MAX = 4096 + 1024
"""A journal with one torn record that is longer than this was never a journal's header."""


class Journal:
    """An open, locked journal. `state` follows what is appended. To be used by one thread."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._good_bytes = 0
        self._state: JournalState | None = None
        _OPEN.add(self)

    @property
    def state(self) -> JournalState:
        if self._state is None:
            raise InputError(f"{self.path}: has no header yet")
        return self._state

    @property
    def empty(self) -> bool:
        """Whether nothing was recorded yet, not even a header (the journal was just created, or a run died then)."""
        return self._state is None

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open (or create), lock and replay. Raises InputError: in use, damaged, or of a later version.

        Changes nothing in a file that exists, except that a torn last record goes when the next is appended.
        """
        journal = cls(path, _open_locked(path))
        try:
            journal._replay()
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def overwrite(cls, path: Path, header: JournalHeader) -> Journal:
        """A fresh journal in the place of whatever is there, all at once. Raises InputError if that is in use."""
        old = cls(path, _open_locked(path))
        try:
            fresh = path.with_name(path.name + ".new")
            durable.remove(fresh)
            journal = cls(path, _open_locked(fresh))
            try:
                journal.start(header)
                durable.rename(fresh, path)
                durable.sync_directory(path.parent)
            except BaseException:
                journal.close()
                raise
            return journal
        finally:
            old.close()

    def start(self, header: JournalHeader) -> None:
        """Write the header of an empty journal."""
        durable.cut(self._fd, 0)
        self._good_bytes = 0
        self._append(journal_state.header_record(header))
        durable.sync_directory(self.path.parent)
        self._state = JournalState(header)

    def append_batch(self, batch: BatchRecord) -> None:
        """On return the record is durable. The files it speaks of must have been synced before."""
        self._append(journal_state.batch_record(batch))
        self.state.apply_batch(batch)

    def append_done(self, fed: Fed) -> None:
        """Every line up to `fed` has its row."""
        state = self.state
        counts = {"n": state.finished_lines, "f": state.failed_lines}
        self._append({"t": "d", **counts, "in": journal_state.fed_record(fed)})
        state.apply_done(fed)

    def append_merged(self) -> None:
        """The files that a merge has written have taken their places."""
        self._append({"t": "m"})
        self.state.merged = True

    def written_order(self) -> Iterator[int]:
        """Line numbers in the order in which their rows were written, read from the file; skipped lines have none.

        In an ordered job the rows stand in ascending order whatever order they came in.
        """
        state = self.state
        if state.header.ordered:
            yield from (number for number in state.written if number not in state.skipped)
            return
        for record, _ in self._records():
            yield from journal_state.written_in(record)

    def failures(self) -> Iterator[tuple[str, Iterator[int]]]:
        """Why lines failed, read from the file: reasons, each with some of its lines; a reason may come again."""
        for record, _ in self._records():
            yield from journal_state.failures_in(record)

    def cut_back(self) -> None:
        """Remove what an append that failed has left behind the last record. Raises OSError."""
        durable.cut(self._fd, self._good_bytes)

    def moved_to(self, path: Path) -> None:
        """Note that the file was renamed."""
        self.path = path

    def close(self) -> None:
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # also for a child that has only just been forked
        self.forget()

    def forget(self) -> None:
        """Close without unlocking: in a forked child, which shares the lock with its parent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, record: dict[str, Any]) -> None:
        line = journal_state.encode(record)
        durable.append(self._fd, line)
        durable.sync(self._fd)
        self._good_bytes += len(line)

    def _replay(self) -> None:
        good_bytes = 0
        for record, end in self._records():
            good_bytes = end
            try:
                if self._state is None:
                    self._state = JournalState(self._checked_header(record))
                else:
                    self._state.apply(record)
            except RecordError as error:
                raise InputError(f"{self.path}: the journal is damaged: {error}") from error
        size_bytes = os.fstat(self._fd).st_size
        if self._state is None and size_bytes > HEADER_BYTES_MAX:
            raise InputError(f"{self.path}: is no journal of keyfleet's")
        if self._state is not None and good_bytes < size_bytes:
            durable.cut(self._fd, good_bytes)
        self._good_bytes = good_bytes
        # A run that was killed before its sync leaves a record that can be read, but that a power loss would undo.
        durable.sync(self._fd)
        durable.sync_directory(self.path.parent)

    def _checked_header(self, record: dict[str, Any]) -> JournalHeader:
        version = record.get("version")
        if isinstance(version, int) and version > JOURNAL_VERSION:
            raise InputError(f"{self.path}: was written by a later version of keyfleet (format {version})")
        return journal_state.header_from(record)

    def _records(self) -> Iterator[tuple[dict[str, Any], int]]:
        """(record, offset behind it), without a torn last one."""
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    record = journal_state.decode(line)
                except RecordError as error:
                    if file.read(1) or (number == 1 and line.endswith(b"\n")):
                        what = f"{self.path}, line {number}: the journal is damaged ({error})"
                        raise InputError(f"{what}; --overwrite starts anew") from error
                    return
                end += len(line)
                yield record, end


def read_header(path: Path) -> JournalHeader:
    """What the job of a journal is, which another process may be writing. Raises InputError."""
    try:
        with path.open("rb") as file:
            return journal_state.header_from(journal_state.decode(file.readline()))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error
    except RecordError as error:
        raise InputError(f"{path}: is no journal of keyfleet's ({error})") from error


_OPEN: weakref.WeakSet[Journal] = weakref.WeakSet()


def _forget_in_child() -> None:
    for journal in list(_OPEN):
        journal.forget()  # else a worker that outlives its parent would keep the lock


os.register_at_fork(after_in_child=_forget_in_child)


def _open_locked(path: Path) -> int:
    """Open or create the file and lock it. Raises InputError if another process holds it."""
    while True:
        try:
            fd = durable.open_for_append(path)
        except OSError as error:
            raise InputError(f"{path}: can't be written: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise InputError(f"another keyfleet run is writing {path.name.removesuffix('.keyfleet')}") from None
        os.close(fd)  # replaced between opening and locking; look again
