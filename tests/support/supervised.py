"""Supervisors of trivial workers, each in a process of its own: see `supervised_program`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.events import wait_until

__all__ = ["Supervised", "SupervisedPlace", "is_alive"]

PROGRAM = Path(__file__).with_name("supervised_program.py")


def is_alive(pid: int) -> bool:
    """Whether the process runs, and is no zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # it has ended, perhaps while this was read
        return False


class SupervisedPlace:
    """Where the workers leave their marks: `<key>.<pid>`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[Supervised] = []

    def write_keys(self, keys: dict[str, dict[str, Any]]) -> None:
        """Configure keys, each with its `behaviour`, `workers` and `timeout_s`."""
        new = self.directory / "keys.json.new"
        new.write_text(json.dumps(keys))
        new.replace(self.directory / "keys.json")

    def lives(self, name: str) -> list[int]:
        """The processes of a key's workers, dead or alive."""
        return sorted(int(path.suffix[1:]) for path in self.directory.glob(f"{name}.*") if path.suffix[1:].isdigit())

    def alive(self, name: str) -> list[int]:
        """Those of them that live."""
        return [pid for pid in self.lives(name) if is_alive(pid)]

    def mark(self, name: str, pid: int) -> str:
        """What a worker has written into its mark."""
        return (self.directory / f"{name}.{pid}").read_text()

    @property
    def leases(self) -> list[str]:
        """The keys whose leases the supervisor holds now."""
        path = self.directory / "leases"
        return path.read_text().split() if path.exists() else []

    def lose_lease(self, name: str) -> None:
        """Have the supervisor lose the lease of a key, and wait until it has heard of it."""
        new = self.directory / "lost.new"
        new.write_text(name)
        new.replace(self.directory / "lost")
        wait_until(lambda: not (self.directory / "lost").exists(), "the supervisor has heard of it")

    def supervise(self, behaviours: dict[str, str], **options: object) -> Supervised:
        """Start a supervisor of keys whose workers behave so."""
        self.write_keys({name: {"behaviour": behaviour} for name, behaviour in behaviours.items()})
        return self.start(**options)

    def start(self, **options: object) -> Supervised:
        """Start a supervisor of the keys that are configured."""
        found = Supervised(self.directory, options)
        self._started.append(found)
        return found

    def close(self) -> None:
        """End whatever a test has left: workers end with their supervisor, if nothing failed."""
        for one in self._started:
            one.kill()
        for path in self.directory.glob("*.*"):
            if path.suffix[1:].isdigit() and is_alive(int(path.suffix[1:])):
                os.kill(int(path.suffix[1:]), signal.SIGKILL)


class Supervised:
    """A supervisor whose standard input is a pipe from here."""

    def __init__(self, directory: Path, options: dict[str, object]) -> None:
        self.errors = directory / f"{len(list(directory.glob('*.stderr')))}.stderr"
        with self.errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(directory), json.dumps(options)],
                stdin=subprocess.PIPE,
                stderr=errors,
            )

    def close_stdin(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Its exit code, at its end."""
        return self._process.wait(30.0)

    def kill(self) -> None:
        """End it by force."""
        self.close_stdin()
        self._process.kill()
        self.wait()
