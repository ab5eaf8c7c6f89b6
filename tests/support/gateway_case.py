"""A gateway with a made-up fleet: asked directly, or over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from keyfleet.gateway import ApiKeys, Gateway, GatewayTerms
from keyfleet.gateway.server import GatewayServer, bind
from support.serving_fleet import ServedFleet

__all__ = ["CHAT", "CHAT_BODY", "KEY", "STREAMED_BODY", "Answered", "Line", "RunningGateway", "ask", "running_gateway"]

KEY = "gateway-key-1"
CHAT = "/v1/chat/completions"
CHAT_BODY: dict[str, Any] = {"model": "gpt", "messages": [{"role": "user", "content": "Hi"}]}
STREAMED_BODY = {**CHAT_BODY, "stream": True}


@dataclass(frozen=True)
class Answered:
    """An answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error, whose shape must be OpenAI's."""
        assert self.headers["content-type"] == "application/json"
        error = self.document["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


def ask(
    fleet: ServedFleet,
    path: str = CHAT,
    body: Any = CHAT_BODY,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    keys: tuple[str, ...] = (KEY,),
    terms: GatewayTerms | None = None,
) -> Answered:
    """Ask a gateway as an ASGI server would. `headers` are beside a good key and type, and take their places."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(raw)),
        **{name.lower(): value for name, value in (headers or {}).items()},
    }
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value],
    }
    return asyncio.run(_ask(Gateway(fleet, ApiKeys(keys), terms), scope, raw))


async def _ask(gateway: Gateway, scope: dict[str, Any], raw: bytes) -> Answered:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": raw, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError("woken")

    async def send(message: Any) -> None:
        sent.append(message)

    await gateway(scope, receive, send)
    start, *pieces = sent
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answered(start["status"], headers, b"".join(piece["body"] for piece in pieces))


class Line:
    """A connection on which anything may be said."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._unread = b""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def say(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def post(self, body: Any = CHAT_BODY, *, path: str = CHAT, more: bytes = b"", key: str = KEY) -> None:
        """Send a whole request; `more` are further lines of its head."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        length = b"Content-Length: %d\r\n" % len(raw)
        self.say(self.head(path, key=key) + length + more + b"\r\n" + raw)

    def head(self, path: str = CHAT, *, key: str = KEY) -> bytes:
        """The lines that all requests have."""
        lines = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        return f"{lines}Content-Type: application/json\r\n".encode()

    def hear(self) -> Answered:
        """One whole answer."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self.hear_chunk, b""))
        else:
            body = self._exactly(int(headers.get("content-length", "0")))
        return Answered(int(first.split()[1]), headers, body)

    def hear_head(self) -> str:
        """The head of an answer."""
        return self._until(b"\r\n\r\n").decode("latin-1")

    def hear_chunk(self) -> bytes:
        """One chunk of an answer that comes in chunks; nothing at its end."""
        size = int(self._until(b"\r\n"), 16)
        chunk = self._exactly(size)
        self._exactly(2)
        return chunk

    def is_ended(self) -> bool:
        """Waits for the connection's end; tells whether nothing came before it."""
        try:
            return not self._unread and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            self._more()
        found, _, self._unread = self._unread.partition(mark)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._unread) < count:
            self._more()
        found, self._unread = self._unread[:count], self._unread[count:]
        return found

    def _more(self) -> None:
        piece = self.socket.recv(65_536)
        assert piece, f"the connection ended after {self._unread!r}"
        self._unread += piece


@dataclass
class RunningGateway:
    """A gateway that listens, and its fleet. `codes` has the server's exit code once it has ended."""

    fleet: ServedFleet
    server: GatewayServer
    port: int
    thread: threading.Thread
    codes: list[int]

    def line(self) -> Line:
        """A new connection to it."""
        return Line(self.port)

    def stop(self) -> None:
        """As a signal does it."""
        self.server.handle_exit(0, None)


@contextmanager
def running_gateway(
    fleet: ServedFleet, terms: GatewayTerms | None = None, *, keys: tuple[str, ...] = (KEY,), **changed: Any
) -> Iterator[RunningGateway]:
    """Serve in a thread of this process; `changed` are terms."""
    terms = replace(terms or GatewayTerms(), **changed)
    is_listening = threading.Event()
    server = GatewayServer(
        Gateway(fleet, ApiKeys(keys), terms), terms, close_fleet=fleet.close, on_listening=is_listening.set
    )
    with bind("127.0.0.1", 0) as listener:
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(server.serve_on(listener)))
        thread.start()
        try:
            assert is_listening.wait(20)
            yield RunningGateway(fleet, server, listener.getsockname()[1], thread, codes)
        finally:
            server.should_exit = server.force_exit = True
            thread.join(20)
            assert not thread.is_alive()
