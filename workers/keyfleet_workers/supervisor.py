"""Supervises one process per worker: starts it, starts it again when it dies, and follows what is configured."""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from keyfleet.config import KeyConfig, KeySource
from keyfleet_workers.assignment import Assignment
from keyfleet_workers.children import Child, Launcher, ended_with, send_signal
from keyfleet_workers.exit_codes import CONFIGURATION_EXIT, KEY_SET_ASIDE
from keyfleet_workers.lease_upkeep import LeaseUpkeep

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

LOOK_S = 0.2
"""Interval of looking after the children (s)."""

KEYS_LOOK_S = 1.0
"""Interval of looking whether the keys file has changed (s)."""

RESTART_FIRST_S = 1.0
RESTART_LONGEST_S = 30.0
"""Pause before a worker that died is started again: doubled each time it dies young (s)."""

YOUNG_S = 10.0
"""A worker that lived longer than this did not die of its start (s)."""

SHUTDOWN_S = 75.0
"""How long children may take to leave before they are killed (s); longer than their own deadline."""

AT_ONCE_S = 3.0
"""The same for children that were told to leave at once (s)."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Watch(Protocol):
    """Says once of each change of the keys file how the keys are now; None where nothing has changed."""

    def look(self, *, is_forced: bool = False) -> KeySource | None: ...


class Beside(Protocol):
    """A process beside the workers that is kept running, until all of them have ended."""

    def look(self) -> None: ...

    def end(self) -> None: ...


@dataclass(slots=True)
class Supervisor:
    """Keeps as many workers for as many of `keys` as `assignment` wants.

    A first SIGTERM or SIGINT has the workers finish their calls, a second ends them at once. SIGHUP reads the keys
    file again and puts new workers in the place of all, which then read their secrets again. With `end_with_stdin` it
    ends when its standard input is closed, that is with whoever started it.
    It keeps no connection open and starts no thread, so that forking stays safe.
    """

    assignment: Assignment
    launcher: Launcher
    keys: tuple[KeyConfig, ...]
    watch: Watch | None = None
    upkeep: LeaseUpkeep | None = None
    end_with_stdin: bool = False
    beside: Beside | None = None
    restart_first_s: float = RESTART_FIRST_S
    shutdown_s: float = SHUTDOWN_S
    clock: Callable[[], float] = time.monotonic
    _children: list[Child] = field(default_factory=list)
    _refused: dict[str, KeyConfig] = field(default_factory=dict)
    _keys_due_s: float = 0.0
    _stops: int = 0
    _hang_ups: int = 0
    _has_terminal: bool = False

    def run(self) -> int:
        """Supervise until SIGTERM, SIGINT or the end of standard input; returns the exit code."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hang_up)
        self._has_terminal = os.isatty(0)
        while not self._stops:
            self._follow_keys()
            self._look()
            self._look_beside()
            if not self._match():
                break
            self._keep_leases()
            self._wait()
        self._end_children()
        if self.beside is not None:
            self.beside.end()
        is_refused = any(self._refused.get(key.name) == key for key in self.keys)
        return CONFIGURATION_EXIT if is_refused else 0

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1

    def _on_hang_up(self, number: int, frame: FrameType | None) -> None:
        if self._has_terminal and not os.isatty(0):
            self._stops = max(1, self._stops)  # the terminal is gone, and whoever sat at it
        else:
            self._hang_ups += 1

    def _wait(self) -> None:
        if not self.end_with_stdin:
            time.sleep(LOOK_S)
            return
        readable, _, _ = select.select([0], [], [], LOOK_S)
        if readable and not os.read(0, 1024):
            self._stops = max(1, self._stops)

    def _follow_keys(self) -> None:
        is_forced, self._hang_ups = self._hang_ups > 0, 0
        if self.watch is None:
            if is_forced:
                logger.warning("the keys come from the environment, which is read only once; start anew to change them")
            return
        if not is_forced and self.clock() < self._keys_due_s:
            return
        self._keys_due_s = self.clock() + KEYS_LOOK_S
        source = self.watch.look(is_forced=is_forced)
        if source is None:
            return
        logger.info("the keys were read again; %s", source.description)
        self.keys = source.keys
        if not self.assignment.candidates(self.keys):
            logger.warning("no key is left that this worker can serve; it waits for one")
        if is_forced:
            self._refused.clear()
            for child in self._children:
                child.is_outdated = True

    def _look(self) -> None:
        for child in list(self._children):
            if child.restart_due_s is not None:
                self._restart_when_due(child)
            elif (code := ended_with(child.pid)) is not None:
                self._note_end(child, code)
            elif child.leave_by_s is not None and self.clock() > child.leave_by_s:
                send_signal(child.pid, signal.SIGKILL)

    def _look_beside(self) -> None:
        if self.beside is not None:
            self.beside.look()

    def _note_end(self, child: Child, code: int) -> None:
        lived_s = self.clock() - child.started_s
        if child.leave_by_s is not None:
            self._children.remove(child)
        elif code == CONFIGURATION_EXIT:
            self._children.remove(child)
            self._refused[child.key.name] = child.key
        elif code == KEY_SET_ASIDE and self.assignment.set_aside(child.key, lived_s):
            self._children.remove(child)
        else:
            self._restart_later(child, code, lived_s)

    def _restart_later(self, child: Child, code: int, lived_s: float) -> None:
        pause_s = self.restart_first_s if lived_s > YOUNG_S else child.pause_s
        child.restart_due_s, child.pause_s = self.clock() + pause_s, min(2 * pause_s, RESTART_LONGEST_S)
        logger.warning("the worker of key %s ended (%d); it starts again in %.3g s", child.key.name, code, pause_s)

    def _restart_when_due(self, child: Child) -> None:
        if child.restart_due_s is not None and self.clock() >= child.restart_due_s:
            child.pid, child.started_s, child.restart_due_s = self.launcher.start(child.key), self.clock(), None

    def _match(self) -> bool:
        """Start and drain workers until they are those that are wanted; False where none can ever be."""
        candidates = self.assignment.candidates(self.keys)
        usable = {key.name: key for key in candidates if self._refused.get(key.name) != key}
        if candidates and not usable and not self._children:
            return False
        wanted = self.assignment.wanted(tuple(usable.values()))
        for child in [child for child in self._children if child.leave_by_s is None]:
            left = wanted.get(child.key.name, 0)
            is_outdated = child.is_outdated or child.lease is None
            if not left or is_outdated or usable[child.key.name] != child.key:
                self._drain(child)
            else:
                wanted[child.key.name] = left - 1
        for name, count in wanted.items():
            for _ in range(count):
                self._start(usable[name])
        return True

    def _start(self, key: KeyConfig) -> None:
        lease = self.assignment.lease(key)
        self._children.append(Child(key, lease, self.launcher.start(key), self.clock(), self.restart_first_s))

    def _drain(self, child: Child) -> None:
        """Have a worker finish its calls and leave; its successor, here or elsewhere, needn't wait for that."""
        child.lease = None
        if child.restart_due_s is not None:
            self._children.remove(child)
            return
        send_signal(child.pid, signal.SIGTERM)
        child.leave_by_s = self.clock() + self.shutdown_s

    def _keep_leases(self) -> None:
        if self.upkeep is None:
            return
        held = frozenset(child.lease for child in self._children if child.lease is not None)
        lost = self.upkeep.look(held, [key.name for key in self.keys])
        for lease in lost:
            self.assignment.lost(lease)
        for child in self._children:
            if child.lease in lost:
                child.lease = None

    def _end_children(self) -> None:
        if self._children and not self.end_with_stdin:
            logger.warning("stopping: calls under way are finished first; the same signal again ends at once")
        for child in [child for child in self._children if child.leave_by_s is None]:
            self._drain(child)
        told_at_once = False
        while self._children:
            if self._stops > 1 and not told_at_once:
                told_at_once = True
                self._end_at_once()
            self._look()
            self._look_beside()
            self._keep_leases()
            time.sleep(0.02)
        self._keep_leases()

    def _end_at_once(self) -> None:
        for child in self._children:
            send_signal(child.pid, signal.SIGQUIT)
            child.leave_by_s = self.clock() + AT_ONCE_S
