"""Callers of an HTTP/1.1 server, as cheap as Python allows: requests are made once, answers are only looked through.

`python -m benchmarks.support.http_load URL API_KEY`, with orders as in `load.py`.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from functools import partial
from urllib.parse import urlsplit

from benchmarks.support.load import Load, Recorder, serve_orders

__all__ = ["HttpCaller", "request_bytes"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TOKEN = re.compile(rb'"content": ?"[^"]')
_LAST_CHUNK = b"0\r\n\r\n"


def request_bytes(url: str, api_key: str, body: str) -> bytes:
    """A whole request."""
    parts, payload = urlsplit(url), body.encode()
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {api_key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


class HttpCaller(asyncio.Protocol):
    """One caller on one connection: the next call begins when the answer is whole. `ended` brings the end of all."""

    def __init__(self, request: bytes, recorder: Recorder, start_s: float = 0.0) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._start_s = start_s
        self._recorder = recorder
        self._answer = b""
        self._whole_bytes: int | None = None
        self._began_s = 0.0
        self._first_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # asyncio says no more of it
        if self._start_s:
            asyncio.get_running_loop().call_later(self._start_s, self._begin)
        else:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self._recorder.note(self._began_s, None, is_good=False)
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        is_head_new = b"\r\n\r\n" not in self._answer
        self._answer += data
        if is_head_new and (head_bytes := self._answer.find(b"\r\n\r\n") + 4) >= 4:
            length = _LENGTH.search(self._answer, 0, head_bytes)
            self._whole_bytes = head_bytes + int(length[1]) if length else None
        if self._first_s is None and _TOKEN.search(self._answer):
            self._first_s = time.perf_counter()
        if self._is_whole():
            self._recorder.note(self._began_s, self._first_s, is_good=self._answer.startswith(b"HTTP/1.1 200"))
            self._begin()

    def _is_whole(self) -> bool:
        if self._whole_bytes is not None:
            return len(self._answer) >= self._whole_bytes
        return self._answer.endswith(_LAST_CHUNK)

    def _begin(self) -> None:
        if self._recorder.is_over:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._answer, self._whole_bytes, self._first_s = b"", None, None
        self._began_s = time.perf_counter()
        self._transport.write(self._request)


async def run(url: str, api_key: str, load: Load, recorder: Recorder) -> None:
    """One load."""
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    request = request_bytes(url, api_key, load.body)
    callers = []
    for start_s in load.starts_s():
        _, caller = await loop.create_connection(partial(HttpCaller, request, recorder, start_s), host, port)
        callers.append(caller)
    await asyncio.gather(*(caller.ended for caller in callers))


if __name__ == "__main__":
    given_url, given_key = sys.argv[1:]
    serve_orders(lambda load, recorder: run(given_url, given_key, load, recorder))
