"""A provider on the loopback that does to each connection what a test's script says."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable

import pytest

from keyfleet.config import Provider
from keyfleet_workers.provider import CallFailed, ProviderClient

__all__ = [
    "ANSWER",
    "SECRET",
    "Key",
    "MakeClient",
    "Script",
    "ScriptedServer",
    "failure_of",
    "hang_up",
    "reset",
    "unused_port",
]

SECRET = "sk-top-secret"

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: r1\r\nContent-Length: 2\r\n\r\n{}"

Script = Callable[[socket.socket], None]
"""Gets the connection whose request was just read."""

MakeClient = Callable[..., ProviderClient]


def reset(connection: socket.socket) -> None:
    """Close so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hang_up(connection: socket.socket) -> None:
    """Close in good order."""
    connection.shutdown(socket.SHUT_RDWR)


UNASKED_PORTS = range(20_000, 32_000)
"""Below those that Linux and macOS give to whoever asks for any, and to connections, which may take one meanwhile."""


def unused_port() -> int:
    """A port on which nothing listens, and that nobody gets who doesn't name it."""
    while True:
        port = random.choice(UNASKED_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class ScriptedServer:
    """Reads one request after another from every connection and leaves the answer to `script`."""

    def __init__(self) -> None:
        self.script: Script = lambda connection: connection.sendall(ANSWER)
        self.greeting: Script = lambda connection: None
        """What comes before the first request of a connection."""
        self.reads_bodies = True
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = 0
        """How many of the connections are over."""
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer_with(self, data: bytes, then: Script | None = None) -> None:
        """From now on send `data`, then do `then`."""

        def script(connection: socket.socket) -> None:
            connection.sendall(data)
            if then is not None:
                then(connection)

        self.script = script

    def hang(self, _: socket.socket) -> None:
        """A script that falls silent until the server is closed."""
        self._released.wait(30)

    def close(self) -> None:
        """Listen no more, and let what hangs end."""
        self._released.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.greeting(connection)
            while request := self._read(connection):
                self.requests.append(request)
                self.script(connection)
        self.ended += 1

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-length")]
        while self.reads_bodies and lengths and len(body) < int(lengths[0]):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


class Key:
    """The credentials of a made-up key."""

    def __init__(
        self,
        base_url: str,
        proxy_url: str | None = None,
        *,
        provider: Provider = "openai",
        api_version: str | None = None,
    ) -> None:
        self.base_url = base_url
        self.provider: Provider = provider
        self.api_version = api_version
        self._proxy_url = proxy_url

    @property
    def proxy_url(self) -> str | None:
        return self._proxy_url

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {SECRET}"}


def failure_of(client: ProviderClient, body: bytes = b"{}", read_timeout_s: float = 10.0) -> CallFailed:
    """The failure of a call that must fail."""
    with pytest.raises(CallFailed) as found:
        client.post("/v1/x", body, read_timeout_s=read_timeout_s)
    return found.value
