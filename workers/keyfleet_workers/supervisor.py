"""One process per key, forked from one warm parent and started again when it dies."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from keyfleet.config import KeyConfig

__all__ = ["CONFIGURATION_EXIT", "Supervisor"]

logger = logging.getLogger(__name__)

LOOK_S = 0.2
"""Interval of looking after the children (s)."""

RESTART_FIRST_S = 1.0
RESTART_LONGEST_S = 30.0
"""Pause before a worker that died is started again: doubled each time it dies young (s)."""

YOUNG_S = 10.0
"""A worker that lived longer than this did not die of its start (s)."""

SHUTDOWN_S = 75.0
"""How long children may take to leave before they are killed (s); longer than their own deadline."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

CONFIGURATION_EXIT = 2
"""Exit code of a worker whose configuration is wrong: starting it again would not help."""


@dataclass(slots=True)
class _Child:
    key: KeyConfig
    pid: int
    started_s: float
    pause_s: float
    restart_due_s: float | None = None  # set while no process runs


@dataclass(slots=True)
class Supervisor:
    """Starts `serve(key)` in a process of its own for every key and worker.

    It opens no connection and starts no thread, so that forking stays safe. With `end_with_stdin` it ends when its
    standard input is closed, that is with whoever started it.
    """

    keys: tuple[KeyConfig, ...]
    serve: Callable[[KeyConfig], int]
    spawn_command: Callable[[KeyConfig], list[str]]
    end_with_stdin: bool = False
    can_fork: bool = sys.platform != "darwin"  # forking a process that has touched macOS's frameworks may crash it
    restart_first_s: float = RESTART_FIRST_S
    shutdown_s: float = SHUTDOWN_S
    _children: list[_Child] = field(default_factory=list)
    _alive: tuple[int, int] = (-1, -1)
    _stopping: bool = False
    _exit_code: int = 0

    def run(self) -> int:
        """Supervise until SIGTERM, SIGINT or the end of standard input; returns the exit code."""
        self._alive = os.pipe()
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        self._children = [
            _Child(key, self._start(key), time.monotonic(), self.restart_first_s)
            for key in self.keys
            for _ in range(key.workers)
        ]
        while not self._stopping and self._children:
            self._look()
            self._wait()
        self._end_children()
        return self._exit_code

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _wait(self) -> None:
        if not self.end_with_stdin:
            time.sleep(LOOK_S)
            return
        readable, _, _ = select.select([0], [], [], LOOK_S)
        if readable and not os.read(0, 1024):
            self._stopping = True

    def _start(self, key: KeyConfig) -> int:
        if not self.can_fork:
            command = self.spawn_command(key)
            to_stdin = [(os.POSIX_SPAWN_DUP2, self._alive[0], 0)]
            return os.posix_spawn(command[0], command, os.environ, file_actions=to_stdin)
        # Held back, so that no signal meets the handlers of this process in a child that has not set its own.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = os.fork()
        if not pid:
            self._become_worker(key, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _become_worker(self, key: KeyConfig, mask: set[signal.Signals | int]) -> None:
        """In the child: serve, and end the process whatever happens."""
        code = 1
        try:
            os.close(self._alive[1])
            os.dup2(self._alive[0], 0)
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = self.serve(key)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            logger.exception("the worker of key %s failed", key.name)
        finally:
            logging.shutdown()
            os._exit(code)

    def _look(self) -> None:
        for child in list(self._children):
            if child.restart_due_s is not None:
                self._restart_when_due(child)
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._note_death(child, os.waitstatus_to_exitcode(status))

    def _note_death(self, child: _Child, code: int) -> None:
        if code == CONFIGURATION_EXIT:
            self._children.remove(child)
            self._exit_code = CONFIGURATION_EXIT
            return
        now_s = time.monotonic()
        pause_s = self.restart_first_s if now_s - child.started_s > YOUNG_S else child.pause_s
        child.restart_due_s, child.pause_s = now_s + pause_s, min(2 * pause_s, RESTART_LONGEST_S)
        logger.warning("the worker of key %s ended (%d); it starts again in %.3g s", child.key.name, code, pause_s)

    def _restart_when_due(self, child: _Child) -> None:
        if child.restart_due_s is not None and time.monotonic() >= child.restart_due_s:
            child.pid, child.started_s, child.restart_due_s = self._start(child.key), time.monotonic(), None

    def _end_children(self) -> None:
        for child in self._children:
            if child.restart_due_s is None:
                _signal(child.pid, signal.SIGTERM)
        deadline_s = time.monotonic() + self.shutdown_s
        for child in self._children:
            while child.restart_due_s is None and os.waitpid(child.pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline_s:
                    _signal(child.pid, signal.SIGKILL)
                time.sleep(0.02)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
