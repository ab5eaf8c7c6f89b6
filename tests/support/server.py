"""A real Redis-compatible server that tests may kill and start again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import redis

from keyfleet.embedded.binary import find_server_binary
from support.events import wait_until

__all__ = ["ServerProcess", "running"]

Server = TypeVar("Server", bound="ServerProcess")


class ServerProcess:
    """A server on a unix socket in `directory`, with an append-only file that is synced as `fsync` says."""

    def __init__(self, directory: Path, *, fsync: str = "everysec") -> None:
        self._dir = directory
        self._fsync = fsync
        self._socket = directory / "s.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker's address."""
        return f"unix://{self._socket}"

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self._dir

    @property
    def socket_path(self) -> Path:
        """Its socket."""
        return self._socket

    def client(self) -> redis.Redis:
        """A new client."""
        client: redis.Redis = redis.Redis.from_url(self.url)
        return client

    def start(self) -> None:
        """Start it, with what its append-only file holds, and wait until it answers."""
        self._dir.mkdir(parents=True, exist_ok=True)
        command = [str(find_server_binary()), "--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        command += ["--dir", str(self._dir), "--appendonly", "yes", "--appendfsync", self._fsync]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until(self._answers, "the server answers")

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """`server`, started; it is killed in the end, whatever the test has done with it."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
