"""One request and its answer, as ASGI has them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from keyfleet.api import Reply

__all__ = ["ClientGone", "Exchange"]

DISCARDED_BYTES = 65_536
"""A body that is not longer and that nobody wants is read and thrown away by the server, and the connection goes on."""


class ClientGone(Exception):
    """The client has left, so that nobody is there to be answered."""


class Exchange:
    """`is_read` tells that the whole body was read, `has_begun` that an answer has begun."""

    __slots__ = ("_linger_s", "_receive", "_send", "has_begun", "headers", "is_read", "method", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, linger_s: float) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers = Headers(raw=scope["headers"])
        self.is_read = False
        self.has_begun = False
        self.status = 0
        self._receive = receive
        self._send = send
        self._linger_s = linger_s

    @property
    def declared_bytes(self) -> float:
        """How long the body is: infinity where that isn't told beforehand."""
        if "transfer-encoding" in self.headers:
            return math.inf
        length = self.headers.get("content-length", "0")
        return int(length) if length.isascii() and length.isdecimal() else math.inf

    @property
    def parameters(self) -> dict[str, Any]:
        """What stands for the named parts of the path."""
        found: dict[str, Any] = self.scope.get("path_params", {})
        return found

    async def piece(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether there is more. Raises ClientGone."""
        message: Message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        has_more = bool(message.get("more_body", False))
        self.is_read = not has_more
        return message.get("body", b""), has_more

    async def gone(self) -> None:
        """Comes back once the client has left; to be awaited when the whole body is read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(self, reply: Reply) -> None:
        """Answer as a whole. Where much of the body is unread, the connection ends with it."""
        headers = dict(reply.headers)
        if reply.status != 204:
            headers["content-length"] = str(len(reply.body))
        body = b"" if self.method == "HEAD" else reply.body
        if self.is_read or self.declared_bytes <= DISCARDED_BYTES:
            await self.begin(reply.status, headers)
            await self.end(body)
            return
        await self.begin(reply.status, {**headers, "connection": "close"})
        await self.write(body)
        with contextlib.suppress(asyncio.TimeoutError, ClientGone):
            await asyncio.wait_for(self._discard(), self._linger_s)
        await self.end()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer."""
        self.has_begun = True
        self.status = status
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, piece: bytes) -> None:
        """Send a piece of an answer; waits while the client doesn't take what was sent before."""
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes = b"") -> None:
        """Send the last piece of an answer."""
        await self._send({"type": "http.response.body", "body": piece, "more_body": False})

    async def _discard(self) -> None:
        while (await self.piece())[1]:
            pass
