"""The private directory through which worker processes hand their metrics to the process that serves them.

prometheus_client keeps a file per process and kind of metric there. Beside them each live process holds a lock on a
file of its own, which the system lets go when the process ends, however it ends: so nobody mistakes a dead process for
a live one, nor another program that has got its number.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from keyfleet_workers.metrics.counted_files import add_up

__all__ = ["Claim", "fold_dead", "is_supervised", "keep_young", "live_workers", "note_supervisor"]

logger = logging.getLogger(__name__)

LIVE = "live_"
GONE = "gone"
ADDED_UP = ("counter", "histogram")
"""Kinds of metrics that outlive their processes."""

SUPERVISOR = "supervisor"
"""The file whose time tells when the supervisor was at work last, on the monotonic clock that processes share."""

SUPERVISOR_SILENT_S = 180.0
"""A supervisor that has done nothing for this long hangs (s). A broker that is away holds it up for longer than its
timeouts: the look-up of its name, which has none, takes 20 to 60 s where name servers are silent, and happens twice
between two signs of life."""


ID_BYTES = 512
"""Room for a worker's id, taken at once so that a disk that is full later keeps no worker from being seen."""


class Claim:
    """Shows that this process lives, and by which id its worker is known once it serves its key."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError."""
        self._file = _locked(directory / f"{LIVE}{os.getpid()}")
        for path in directory.glob(f"gauge_*_{os.getpid()}.db"):  # of a process that had this number before
            path.unlink(missing_ok=True)
        self.say("")

    def say(self, worker_id: str) -> None:
        """Serve under this id from now on; empty: not any more."""
        self._file.seek(0)
        self._file.write(worker_id.ljust(ID_BYTES))
        self._file.truncate()
        self._file.flush()

    def give_up(self) -> None:
        """This process shows nothing any more."""
        self._file.close()


def _locked(path: Path) -> IO[str]:
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()  # whoever removed it took this process for the dead one before it


def live_workers(directory: Path) -> list[str]:
    """The ids of the workers that serve a key now."""
    found = []
    for path in directory.glob(f"{LIVE}*"):
        if not _is_dead(path) and (worker_id := _text(path)):
            found.append(worker_id)
    return sorted(found)


def fold_dead(directory: Path) -> None:
    """Forget the gauges of processes that are gone, and keep their counts together in one file per kind.

    So the directory doesn't grow with every worker that is started again. Only one process may do it. If it is killed
    at it, what one process had counted may be counted twice.
    """
    for pid in {path.stem.rpartition("_")[2] for path in directory.glob("*.db")} - {GONE}:
        live = directory / f"{LIVE}{pid}"
        if not live.exists() or _is_dead(live):
            _fold(directory, pid)
    for live in directory.glob(f"{LIVE}*"):
        if _is_dead(live):
            live.unlink(missing_ok=True)


def _fold(directory: Path, pid: str) -> None:
    for kind in ADDED_UP:
        path = directory / f"{kind}_{pid}.db"
        if path.exists():
            try:
                add_up(path, directory / f"{kind}_{GONE}.db")
            except OSError as error:
                logger.info("counts of process %s stay in a file of their own (%s)", pid, error.strerror)
                continue
            path.unlink(missing_ok=True)  # a broken one is gone
    for path in directory.glob(f"gauge_*_{pid}.db"):
        path.unlink()


def _is_dead(live: Path) -> bool:
    try:
        with live.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip()
    except OSError:
        return ""


def note_supervisor(directory: Path) -> None:
    """The supervisor is at work."""
    path, now_ns = directory / SUPERVISOR, time.monotonic_ns()
    path.touch()
    os.utime(path, ns=(now_ns, now_ns))


def keep_young(directory: Path) -> None:
    """Set the times of all files to now. Raises OSError.

    Writing through memory changes no file's times, and cleaners of temporary directories remove what looks old: then
    a worker would count as dead, and what it counts would be lost.
    """
    for path in (directory, *directory.iterdir()):
        if path.name != SUPERVISOR:
            with suppress(FileNotFoundError):  # what was dead is removed meanwhile
                os.utime(path)


def is_supervised(directory: Path) -> bool:
    """Whether the supervisor was at work lately."""
    try:
        at_ns = (directory / SUPERVISOR).stat().st_mtime_ns
    except OSError:
        return False
    return time.monotonic_ns() - at_ns < SUPERVISOR_SILENT_S * 1e9
