"""All processes of a place, found by where they run: workers and server included, whoever is their parent now."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from support.events import wait_until

__all__ = ["children_of", "command_line", "pids_of", "signal_all", "wait_until_gone"]

PROC = Path("/proc")


def pids_of(directory: Path, *, named: str = "") -> list[int]:
    """Processes that run in `directory` or below, oldest first; of these, those whose command line holds `named`."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            inside = (entry / "cwd").readlink().is_relative_to(directory)
            alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        if inside and alive and named in command_line(int(entry.name)):
            found.append(int(entry.name))
    return sorted(found)


def children_of(pid: int) -> list[int]:
    """The living children of a process, oldest first."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return sorted(found)


def command_line(pid: int) -> str:
    """The command line that anyone on this machine can read; empty once the process has ended."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each that still lives."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_until_gone(directory: Path, *, timeout_s: float = 30.0) -> None:
    """Wait until no process runs in `directory`."""
    wait_until(lambda: not pids_of(directory), f"all processes of {directory.name} have ended", timeout_s=timeout_s)
