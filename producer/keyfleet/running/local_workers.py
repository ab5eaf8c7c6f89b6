"""Workers of this command's own: one process per key, under one supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from keyfleet.forked import close_in_forks, forget_in_forks

__all__ = ["LocalWorkers"]

STOP_MARGIN_S = 20.0
"""How much longer than its workers the supervisor may take to end (s); it gives them 15 s more than they need."""

LAST_BYTES = 4096
"""How much of the log's end is looked at, however long it has become."""


class LocalWorkers:
    """The supervisor process. It ends with this process, however that ends, and lets paid calls finish first."""

    def __init__(self, log_path: Path, *, shutdown_s: float = 60.0) -> None:
        """`shutdown_s` is how long workers may finish their calls."""
        self.log_path = log_path
        self._stop_s = shutdown_s + STOP_MARGIN_S
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str], environment: dict[str, str], inherit: Sequence[int]) -> None:
        """Start workers for all keys. `inherit` are open files that the children keep, `environment` is added."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "keyfleet", "worker", "--all", "--end-with-stdin", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                pass_fds=tuple(inherit),
                start_new_session=True,  # so that Ctrl-C reaches only this command, which then asks them to stop
            )
        if self._process.stdin is not None:  # a forked child that kept it would keep the workers from ending
            close_in_forks(self._process.stdin.fileno())

    def has_failed(self) -> bool:
        """Whether the supervisor has ended although nobody asked it to."""
        return self._process is not None and self._process.poll() is not None

    def last_words(self) -> str:
        """The end of what the workers have logged."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-3:])

    def stop(self, *, at_once: bool = False) -> None:
        """Let the workers finish the calls under way and end; `at_once`: don't wait for that."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            forget_in_forks(self._process.stdin.fileno())
            self._process.stdin.close()
        if not at_once:
            try:
                self._process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process = None
