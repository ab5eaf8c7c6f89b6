"""Worker processes: forked from one warm parent, or spawned where forking is unsafe."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from keyfleet.config import KeyConfig
from keyfleet_workers.key_leases import KeyLease

__all__ = ["Child", "Launcher", "ended_with", "send_signal"]

logger = logging.getLogger(__name__)

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals for which the supervisor has handlers of its own."""


@dataclass(slots=True, eq=False)
class Child:
    """One place for a worker of `key`. Times are on the supervisor's clock.

    `is_outdated`: another shall take its place. No process runs while `restart_due_s` is set. `leave_by_s` is set
    once it was told to leave. `lease` is None from then on, and once it is lost.
    """

    key: KeyConfig
    lease: KeyLease | None
    pid: int
    started_s: float
    pause_s: float
    is_outdated: bool = False
    restart_due_s: float | None = None
    leave_by_s: float | None = None


@dataclass(slots=True)
class Launcher:
    """Starts `serve(key)` in a process of its own, whose standard input ends with this process.

    This process must have no thread and no open connection, so that forking stays safe.
    """

    serve: Callable[[KeyConfig], int]
    spawn_command: Callable[[KeyConfig], list[str]]
    can_fork: bool = sys.platform != "darwin"  # forking a process that has touched macOS's frameworks may crash it
    _alive: tuple[int, int] = field(default_factory=os.pipe)

    def start(self, key: KeyConfig) -> int:
        """Start a worker; returns its process id."""
        return self.start_beside(f"the worker of key {key.name}", lambda: self.serve(key), self.spawn_command(key))

    def start_beside(self, name: str, run: Callable[[], int], command: list[str]) -> int:
        """Start another process in the same way: it does `run`, or `command` where forking is unsafe."""
        if not self.can_fork:
            to_stdin = [(os.POSIX_SPAWN_DUP2, self._alive[0], 0)]
            return os.posix_spawn(command[0], command, os.environ, file_actions=to_stdin)
        # Held back, so that no signal meets the handlers of this process in a child that has not set its own.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        pid = os.fork()
        if not pid:
            self._become(name, run, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _become(self, name: str, run: Callable[[], int], mask: set[signal.Signals | int]) -> None:
        """In the child: do what it is for, and end the process whatever happens."""
        code = 1
        try:
            os.close(self._alive[1])
            os.dup2(self._alive[0], 0)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = run()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            logger.exception("%s failed", name)
        finally:
            logging.shutdown()
            os._exit(code)


def ended_with(pid: int) -> int | None:
    """The exit code of a child that has ended, as `Popen.returncode` has it; None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a child that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
