"""Flower's server, which strangers can neither fill nor exhaust before they are asked who they are."""

from __future__ import annotations

import logging
import resource
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

__all__ = ["BoundedServer"]

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 512
"""Connections at once; where the system grants few open files, half of those. One more is closed at once."""

MAX_BODY_BYTES = 65_536
"""Longest body of a request: the longest here is that of Flower's table of tasks, about 4 kB."""

IDLE_CONNECTION_S = 20.0
"""A connection whose next request hasn't come within so long is closed (s); the page asks every two seconds."""

BODY_S = 15.0
"""A body has come within so long, or its connection is closed (s)."""


class BoundedServer(HTTPServer):
    """Serves one application. Without the bound, accepting goes on and on failing once no file is left to be opened."""

    def initialize(self, application: Application) -> None:  # type: ignore[override] # all else is decided here
        """As tornado calls it in place of `__init__`."""
        super().initialize(
            application,
            max_body_size=MAX_BODY_BYTES,
            idle_connection_timeout=IDLE_CONNECTION_S,
            body_timeout=BODY_S,
        )
        self._most = _most_connections()
        self._open = 0
        self._is_full = False

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Serve a connection, or close it."""
        if self._open >= self._most:
            stream.close()
            if not self._is_full:
                logger.warning("%d connections are open, as many as may be: others are closed", self._open)
            self._is_full = True
            return
        self._open += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """A connection has ended. What is full is said anew only after half of it was free."""
        super().on_close(server_conn)
        self._open -= 1
        if self._open <= self._most // 2:
            self._is_full = False


def _most_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files // 2)
