"""A supervisor's part in its workers' metrics: the directory they write into, and the process that serves it."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keyfleet.errors import ConfigurationError
from keyfleet_workers.children import Launcher, ended_with, send_signal

__all__ = ["DIRECTORY_VARIABLE", "Exporter", "MetricsPlace"]

logger = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client looks for it once, when it is imported first."""

RUNTIME_VARIABLE = "RUNTIME_DIRECTORY"
"""Set by systemd for a unit with `RuntimeDirectory=`; several directories are parted by colons."""

PREFIX = "keyfleet-metrics-"

AGAIN_S = 1.0
"""Pause before the process that serves metrics is started again (s)."""

YOUNG_S = 3600.0
"""Interval of keeping files from looking old (s): cleaners of temporary directories wait for days."""

END_S = 2.0
"""How long it may take to end (s)."""


@dataclass(frozen=True, slots=True)
class MetricsPlace:
    """Where a host's metrics are kept, and the address and port at which they are served."""

    directory: Path
    address: str
    port: int

    @classmethod
    def prepare(cls, address: str, port: int) -> MetricsPlace:
        """Of a supervisor; port 0 becomes a free one. To be called before prometheus_client is imported.

        Raises ConfigurationError where nobody could listen there, or no file can be written.
        """
        try:
            directory = _new_directory()
        except OSError as error:
            raise ConfigurationError(
                f"--metrics-port: no temporary files can be written ({error.strerror}); set TMPDIR to a directory "
                "that this user may write to",
                setting="--metrics-port",
            ) from None
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        os.environ[DIRECTORY_VARIABLE] = str(directory)
        from keyfleet_workers.metrics.http_server import free_port  # brings prometheus_client

        return cls(directory, address, free_port(address, port))

    @classmethod
    def of_supervisor(cls, address: str, port: int) -> MetricsPlace | None:
        """Of a process that a supervisor has spawned: as that has prepared it."""
        found = os.environ.get(DIRECTORY_VARIABLE)
        return cls(Path(found), address, port) if found else None

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}/metrics"


def _new_directory() -> Path:
    """In the directory that systemd has made for the service, which no cleaner touches, or among temporary files.

    Raises OSError.
    """
    of_service = os.environ.get(RUNTIME_VARIABLE, "").partition(":")[0]
    if of_service and os.access(of_service, os.W_OK | os.X_OK):
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=of_service))
    return Path(tempfile.mkdtemp(prefix=PREFIX))


@dataclass(slots=True)
class Exporter:
    """Keeps the process that serves metrics running. `serve` is what it does, `command` starts it where processes
    can't be forked."""

    launcher: Launcher
    serve: Callable[[], int]
    command: list[str]
    directory: Path
    clock: Callable[[], float] = time.monotonic
    _pid: int | None = None
    _due_s: float = float("-inf")
    _young_due_s: float = float("-inf")

    def look(self) -> None:
        """Start the process if it doesn't run, and show that the supervisor is at work. Never raises."""
        from keyfleet_workers.metrics.directory import keep_young, note_supervisor

        try:
            note_supervisor(self.directory)
            if self.clock() >= self._young_due_s:
                self._young_due_s = self.clock() + YOUNG_S
                keep_young(self.directory)
        except OSError as error:
            logger.info("the supervisor can't show that it works (%s)", error.strerror)
        if self._pid is not None and (code := ended_with(self._pid)) is not None:
            logger.warning("the process that serves metrics ended (%d); it starts again in %.3g s", code, AGAIN_S)
            self._pid, self._due_s = None, self.clock() + AGAIN_S
        if self._pid is None and self.clock() >= self._due_s:
            self._pid = self.launcher.start_beside("the metrics", self.serve, self.command)

    def end(self) -> None:
        """End the process, and remove what was kept for it."""
        if self._pid is not None:
            send_signal(self._pid, signal.SIGQUIT)
            by_s = self.clock() + END_S
            while ended_with(self._pid) is None:
                if self.clock() > by_s:
                    send_signal(self._pid, signal.SIGKILL)
                time.sleep(0.02)
            self._pid = None
        shutil.rmtree(self.directory, ignore_errors=True)
