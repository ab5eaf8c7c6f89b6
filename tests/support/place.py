"""A place for one test's jobs: a directory, an environment of its own, and keys that lead to a stand-in."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import yaml

from keyfleet.embedded import EmbeddedServer
from keyfleet.sim import SimKey, SimProcess, parse_limits
from support.commands import Command, run_command, start_command
from support.processes import command_line, pids_of, signal_all, wait_until_gone

__all__ = ["Place", "sim_key"]

RANK_FILES = Path(__file__).parents[3] / "shared" / "tiktoken"
KEPT_VARIABLES = frozenset({"PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV"})

HEARS_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""Python hears of no interrupt where whoever started the tests ignores it, as a shell does in the background."""

REFUSED = "http://127.0.0.1:9"
"""Nothing listens there: a download that goes through it fails at once."""


def sim_key(name: str, requests: str | None = None, *, tokens: str | None = None, secret: str | None = None) -> SimKey:
    """A key of the stand-in, with limits in the notation of `limits`."""
    limits = parse_limits(requests=[requests] if requests else [], tokens=[tokens] if tokens else [])
    return SimKey(name=name, api_key=secret or f"sk-of-{name}", limits=limits)


@dataclass
class Place:
    """`directory` is where commands are typed; `state_dir` is theirs alone. Ends all it has started."""

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    _started: list[Command] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def env(self) -> dict[str, str]:
        """The environment of commands: of the machine's only what a process needs."""
        kept = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES}
        counting = {"TIKTOKEN_CACHE_DIR": str(RANK_FILES)} if RANK_FILES.is_dir() else {"HTTPS_PROXY": REFUSED}
        return {
            **kept,
            **counting,
            "HOME": str(self.directory),
            "KEYFLEET_STATE_DIR": str(self.state_dir),
            "PYTHONUNBUFFERED": "1",
            **self.settings,
        }

    def write_keys(self, sim: SimProcess, keys: Sequence[SimKey], name: str = "keys.yaml", **fields: Any) -> Path:
        """A keys file for keys of the stand-in, with the very limits that it enforces; `fields` go to each key."""
        entries = []
        for key in keys:
            entry: dict[str, Any] = {"name": key.name, "api_key": key.api_key, "base_url": f"{sim.base_url}/v1"}
            for limit in () if "models" in fields else key.limits:
                entry.setdefault(limit.of, []).append(f"{limit.amount}/{limit.window_s:g} second")
            if key.group is not None:
                entry["group"] = key.group
            entries.append({**entry, **fields})
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump({"keys": entries}), encoding="utf-8")
        return path

    def start(self, *arguments: str, stdin: bytes | None = None, before: Sequence[str] = (), **changed: str) -> Command:
        """Start a command of keyfleet, through the words that come `before` it; `changed` are more of its variables."""
        env = {**self.env, **changed}
        command = start_command(arguments, cwd=self.directory, env=env, stdin=stdin, before=before)
        self._started.append(command)
        return command

    def start_program(self, code: str, **changed: str) -> Command:
        """Start a program of a user's own, given as text."""
        env = {**self.env, **changed}
        command = start_command((), cwd=self.directory, env=env, program=("-c", HEARS_INTERRUPTS + code))
        self._started.append(command)
        return command

    def run(self, *arguments: str, stdin: bytes | None = None, **changed: str) -> Command:
        """Run a command of keyfleet to its end."""
        return run_command(arguments, cwd=self.directory, env={**self.env, **changed}, stdin=stdin)

    def pids(self, named: str = "") -> list[int]:
        """Processes of this place, whoever started them."""
        return pids_of(self.directory, named=named)

    def server_pid(self) -> int:
        """The embedded server's process."""
        lines = {pid: command_line(pid) for pid in self.pids()}
        (pid,) = (pid for pid, line in lines.items() if "server.sock" in line and "guardian" not in line)
        return pid

    def guardian_pid(self) -> int:
        """The process that ends the embedded server with its last user."""
        (pid,) = self.pids("guardian.py")
        return pid

    def kill_all(self) -> None:
        """Kill every process of this place at once, so that none can react to another's end."""
        while pids := self.pids():
            signal_all(pids, signal.SIGSTOP)
            signal_all(pids, signal.SIGKILL)
            for command in self._started:
                command.end()

    def wait_until_empty(self) -> None:
        """Wait until every process of this place has ended by itself."""
        wait_until_gone(self.directory)

    def server_client(self) -> redis.Redis:
        """A client of the embedded server."""
        client: redis.Redis = redis.Redis.from_url(EmbeddedServer(self.state_dir).url)
        return client

    def close(self) -> None:
        """End whatever a test has left."""
        self.kill_all()
        for command in self._started:
            command.end()
