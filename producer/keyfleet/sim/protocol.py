"""HTTP/1.1 on a bare asyncio protocol, so that faults can strike at the level of the socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from keyfleet.sim.error_bodies import invalid_request
from keyfleet.sim.headers import response

__all__ = ["Handler", "HttpConnection", "HttpRequest"]

MAX_HEAD_BYTES = 64 * 1024
"""A longer head is answered 431."""

MAX_BODY_BYTES = 256 * 1024 * 1024
"""A longer body is answered 413."""

_LINGER_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for zero seconds: closing sends RST in place of FIN."""


@dataclass(slots=True)
class HttpRequest:
    """One whole request. `target` is the path with its query; `api_key` comes from any way of presenting it."""

    method: str
    target: str
    api_key: str | None = field(repr=False)
    keep_alive: bool
    body_bytes: int
    expects_continue: bool = False
    body: bytes = field(default=b"", repr=False)


Handler = Callable[[HttpRequest, "HttpConnection"], None]


class _HeadError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpConnection(asyncio.Protocol):
    """One client. Requests are handled one by one; what comes meanwhile waits in the buffer.

    The handler gets the request and this connection, and must end with one of `send`, `send_and_close`, `reset` or
    `close`; parts of an answer may go out before with `send_part`. Until the end `on_lost` is called when the client
    leaves.
    """

    def __init__(self, handle: Handler, connections: set[HttpConnection]) -> None:
        self.on_lost: Callable[[], None] | None = None
        self._handle = handle
        self._connections = connections
        self._buffer = bytearray()
        self._request: HttpRequest | None = None
        self._busy = False
        self._paused = False
        self._when_written: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # With no buffer allowed, "not paused" means that the kernel has taken everything.
        self._transport.set_write_buffer_limits(high=0)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._busy = True
        self._buffer.clear()
        self._when_written = None
        lost, self.on_lost = self.on_lost, None
        if lost is not None:
            lost()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._next()

    @property
    def is_closing(self) -> bool:
        """Whether the client has left, or the connection is being ended: what is sent now reaches nobody."""
        return self._transport.is_closing()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        when_written, self._when_written = self._when_written, None
        if when_written is not None:
            when_written()

    def send(self, payload: bytes, when_written: Callable[[], None]) -> None:
        """Send an answer. `when_written` is called once the kernel has all of it, and never if the client leaves."""
        self._transport.write(payload)
        if self._paused:
            self._when_written = partial(self._written, when_written)
        else:
            self._written(when_written)

    def send_part(self, payload: bytes, when_taken: Callable[[], None]) -> bool:
        """Send a part of an answer. True: the kernel has all of it, and more may be sent now.

        Else `when_taken` is called once it has; never if the client leaves.
        """
        self._transport.write(payload)
        if self._paused:
            self._when_written = when_taken
        return not self._paused

    def send_and_close(self, payload: bytes) -> None:
        """Send this much, then end the connection."""
        self._transport.write(payload)
        self.close()

    def reset(self) -> None:
        """End the connection with a TCP RST."""
        raw: socket.socket | None = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.on_lost = None
        self._transport.abort()

    def close(self) -> None:
        """End the connection when what was sent is out."""
        self.on_lost = None
        self._transport.close()

    def abort(self) -> None:
        """End the connection now; the server stops."""
        self._transport.abort()

    def _written(self, when_written: Callable[[], None]) -> None:
        request, self._request, self.on_lost = self._request, None, None
        when_written()
        if request is None or not request.keep_alive:
            self._transport.close()
            return
        self._busy = False
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if not self._busy:
            self._next()

    def _next(self) -> None:
        """Handle the next request if it is here whole."""
        try:
            request = self._request or self._read_head()
        except _HeadError as error:
            self._refuse(error)
            return
        if request is None:
            return
        self._request = request
        if len(self._buffer) < request.body_bytes:
            if request.expects_continue:
                request.expects_continue = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        request.body = bytes(self._buffer[: request.body_bytes])
        del self._buffer[: request.body_bytes]
        self._busy = True
        self._handle(request, self)

    def _refuse(self, error: _HeadError) -> None:
        self._busy = True
        body = invalid_request(str(error), status=error.status).body()
        self.send_and_close(response(error.status, body, "connection: close\r\n"))

    def _read_head(self) -> HttpRequest | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._buffer) > MAX_HEAD_BYTES):
            raise _HeadError(431, "The request's head is too large.")
        if end < 0:
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        return _parse_head(lines)


def _parse_head(lines: list[str]) -> HttpRequest:
    """Raises _HeadError with the status to answer."""
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _HeadError(400, "The request line is not HTTP/1.1.")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise _HeadError(411, "Chunked bodies are not supported; send a content-length.")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise _HeadError(400, "The content-length is no number.")
    if len(length) > 12 or int(length) > MAX_BODY_BYTES:
        raise _HeadError(413, "The body is too large.")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    connection = headers.get("connection", "").lower()
    return HttpRequest(
        method=parts[0],
        target=parts[1],
        api_key=headers.get("api-key") or headers.get("x-api-key") or bearer or None,
        keep_alive=connection != "close" if parts[2] == "HTTP/1.1" else connection == "keep-alive",
        body_bytes=int(length),
        expects_continue=headers.get("expect", "").lower() == "100-continue",
    )
