"""Keyfleet's commands as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.events import wait_until

__all__ = ["Command", "run_command", "start_command"]

END_S = 60.0
"""How long a command may take to its end (s)."""


class Command:
    """A running command. What it prints goes to files, so that no pipe is ever full."""

    def __init__(self, process: subprocess.Popen[bytes], stdout: Path, stderr: Path) -> None:
        self._process = process
        self._stdout = stdout
        self._stderr = stderr

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code once it has ended."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        """All it has printed."""
        return self._stdout.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """All it has said."""
        return self._stderr.read_text(encoding="utf-8")

    def said(self, text: str) -> bool:
        """Whether it has said `text`, wherever lines were broken."""
        return text in " ".join(self.stderr.split())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = END_S) -> int:
        """Its exit code, at its end."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the command did not end within {timeout_s:g} s; it said:\n{self.stderr}") from None

    def wait_until_said(self, text: str, timeout_s: float = 30.0) -> None:
        """Wait for a text among what it says. Fails if it ends without."""

        def is_there() -> bool:
            ended = self.code is not None
            if self.said(text):
                return True
            assert not ended, f"it ended ({self.code}) without saying {text!r}:\n{self.stderr}"
            return False

        wait_until(is_there, f"the command says {text!r}", timeout_s=timeout_s)

    def end(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def start_command(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes | None = None,
    program: Sequence[str] = ("-m", "keyfleet"),
    before: Sequence[str] = (),
) -> Command:
    """Start a command of keyfleet, or another module's as `program`, in a session of its own.

    `before` are words that start the interpreter in their turn.
    """
    number = len(list(cwd.glob("*.stderr")))
    stdout, stderr = cwd / f"{number}.stdout", cwd / f"{number}.stderr"
    source = subprocess.DEVNULL
    if stdin is not None:
        given = cwd / f"{number}.stdin"
        given.write_bytes(stdin)
        source = os.open(given, os.O_RDONLY)
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            [*before, sys.executable, *program, *arguments],
            cwd=cwd,
            env=dict(env),
            stdin=source,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    if stdin is not None:
        os.close(source)
    return Command(process, stdout, stderr)


def run_command(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes | None = None,
    program: Sequence[str] = ("-m", "keyfleet"),
    timeout_s: float = END_S,
) -> Command:
    """Run a command to its end."""
    command = start_command(arguments, cwd=cwd, env=env, stdin=stdin, program=program)
    try:
        command.wait(timeout_s)
    finally:
        command.end()
    return command
