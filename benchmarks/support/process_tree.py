"""What a process and its descendants cost: processor time and peak memory, sampled from Linux's `/proc`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ProcessTree", "cpu_seconds", "role_of", "sum_by_role"]

SAMPLE_S = 0.1
"""Interval of reading the figures; what a process does after its last sample is missed."""

SAMPLES_PER_SEARCH = 5
"""Every so many samples the tree is searched for new processes, which costs more than reading the known ones."""

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class ProcessFigures:
    """One process. `role` is what it does in a run; times in seconds, memory in KiB."""

    pid: int
    parent: int
    role: str
    cpu_s: float = 0.0
    peak_rss_kib: int = 0


@dataclass(slots=True)
class ProcessTree:
    """Samples `root_pid` and all its descendants from `start` to `stop`.

    A descendant that has left the tree, as the guardian of the embedded server does when its parent ends, is followed
    to its own end. `also` is called at every search, for figures that come from elsewhere.
    """

    root_pid: int
    also: Callable[[], None] | None = None
    processes: dict[int, ProcessFigures] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> ProcessTree:
        """Begin to sample."""
        self._thread = threading.Thread(target=self._run, name="process-tree", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Take no more samples."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        samples = 0
        while not self._stopping.is_set():
            if samples % SAMPLES_PER_SEARCH == 0:
                self._search()
                if self.also is not None:
                    self.also()
            samples += 1
            for figures in list(self.processes.values()):
                _read_figures(figures)
            self._stopping.wait(SAMPLE_S)

    def _search(self) -> None:
        parents = _parents()
        self._adopt(self.root_pid, parents.get(self.root_pid, 0))
        found_more = True
        while found_more:
            found_more = False
            for pid, parent in parents.items():
                if parent in self.processes and pid not in self.processes:
                    found_more |= self._adopt(pid, parent)

    def _adopt(self, pid: int, parent: int) -> bool:
        if pid in self.processes:
            return False
        above = self.processes.get(parent)
        command = _command_line(pid)
        if not command:
            return False
        self.processes[pid] = ProcessFigures(pid, parent, role_of(command, above.role if above else None))
        return True

    def by_role(self, role: str) -> list[ProcessFigures]:
        """The processes of one role, in order of their ids."""
        return sorted((one for one in self.processes.values() if one.role == role), key=lambda one: one.pid)


def role_of(command: Sequence[str], parent_role: str | None) -> str:
    """What a process of a run does, by its command line and its parent's role: a worker is the supervisor's child."""
    if parent_role is None:
        return "producer"
    if any(word.endswith("guardian.py") for word in command):
        return "guardian"
    return {"guardian": "server", "supervisor": "worker"}.get(
        parent_role, "supervisor" if "--all" in command else "other"
    )


def sum_by_role(processes: Sequence[ProcessFigures]) -> dict[str, float]:
    """Processor time (s) by role."""
    sums: dict[str, float] = {}
    for one in processes:
        sums[one.role] = sums.get(one.role, 0.0) + one.cpu_s
    return sums


def _parents() -> dict[int, int]:
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
            found[int(entry.name)] = int(fields[1])
    return found


def _stat_fields(pid: int) -> list[str]:
    """Fields 3 and on of `/proc/PID/stat` (proc(5)): state, parent, …; the 12th and 13th are the processor ticks."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of a process by now (s), without its children's; 0 when it is gone."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _read_figures(figures: ProcessFigures) -> None:
    figures.cpu_s = max(figures.cpu_s, cpu_seconds(figures.pid))
    try:
        status = (_PROC / str(figures.pid) / "status").read_text()
    except OSError:
        return
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            figures.peak_rss_kib = max(figures.peak_rss_kib, int(line.split()[1]))


def _command_line(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "cmdline").read_text(errors="replace").replace("\0", " ").split()
    except OSError:
        return []
