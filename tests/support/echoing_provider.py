"""A provider, and a captive page, that repeat in their errors all they were given: keys, whole and in part."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["PARROTS", "WAYS", "EchoingProvider"]

GOOD_ANSWER = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def _error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}}).encode()


def _shown(key: str) -> str:
    """As OpenAI shows a key that it refuses."""
    return f"{key[:12]}{'*' * 20}{key[-10:]}"


PARROTS = {
    "parrot-broken": (500, "server_error"),
    "parrot-busy": (429, "rate_limit_exceeded"),
    "parrot-no-credit": (429, "insufficient_quota"),
    "parrot-revoked": (401, "invalid_api_key"),
}
"""Errors that repeat the request, by what the provider is asked to do: status and code."""

WAYS: dict[str, Callable[[str], tuple[int, str, bytes]]] = {
    "revoked-whole": lambda key: (401, "application/json", _error(f"Incorrect API key: {key}.", "invalid_api_key")),
    "revoked-part": lambda key: (
        401,
        "application/json",
        _error(f"Incorrect API key provided: {_shown(key)}.", "invalid_api_key"),
    ),
    "no-credit": lambda key: (
        429,
        "application/json",
        _error(f"Your key {key} has no credit left.", "insufficient_quota"),
    ),
    "broken": lambda key: (500, "application/json", _error(f"KeyError: 'Bearer {key}'", "server_error")),
    "escaped": lambda key: (
        503,
        "application/json",
        _error("KEY", "server_error").replace(b"KEY", "".join(f"\\u{ord(letter):04x}" for letter in key).encode()),
    ),
    "no-json": lambda key: (502, "text/html", f"<html>upstream refused {key} and {_shown(key)}</html>".encode()),
    "captive": lambda key: (200, "text/html", f"<html>Log in, {key}</html>".encode()),
    "wrong": lambda key: (400, "application/json", _error(f"Bad request by {key} or {_shown(key)}", key)),
}
"""How it repeats the key, by what it is asked to do: status, type and body."""


class EchoingProvider:
    """Answers below `/WAY/v1` as `WAYS` and `PARROTS` say until it is told to be good.

    Every answer repeats the key in its headers.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.is_good = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                self._answer(b"")

            def _answer(self, request: bytes) -> None:
                key = self.headers.get("Authorization", "").removeprefix("Bearer ")
                way = self.path.split("/")[1]
                provider.calls[way] += 1
                status, kind, body = 200, "application/json", json.dumps({**GOOD_ANSWER, "echo": key}).encode()
                if not provider.is_good and way in WAYS:
                    status, kind, body = WAYS[way](key)
                if not provider.is_good and way in PARROTS:
                    status, code = PARROTS[way]
                    body = _error(f"can't serve {json.loads(request) if request else 'this'}", code)
                self.send_response(status)
                headers = {"Content-Type": kind, "Content-Length": str(len(body)), "x-request-id": f"r-{key}"}
                for name, value in {**headers, "x-debug": key, "retry-after": "1"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def base_url(self, way: str, host: str = "127.0.0.1") -> str:
        """Where keys that meet this way are sent."""
        return f"http://{host}:{self.port}/{way}/v1"

    def __enter__(self) -> EchoingProvider:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
