"""Serves the pages over HTTP, for Prometheus and for whoever watches containers."""

from __future__ import annotations

import logging
import socket
import socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from keyfleet.errors import ConfigurationError
from keyfleet_workers.metrics.pages import Page, Pages

__all__ = ["MetricsServer", "free_port"]

logger = logging.getLogger(__name__)

SILENT_S = 10.0
"""A client that says nothing for this long is left (s)."""

BROKEN = Page(500, b"the page can't be made; the log says why\n")


class MetricsServer(ThreadingHTTPServer):
    """Serves `pages` at an address."""

    daemon_threads = True

    def __init__(self, pages: Pages, address: str, port: int) -> None:
        """Listens from now on. Raises ConfigurationError where the address can't be had."""
        self.pages = pages
        self.address_family, place = _place(address, port)
        try:
            super().__init__(place, _Handler)
        except OSError as error:
            raise _refused(address, port, error) from None

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of this host's name, which may last."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment] # typed as for both families

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no trouble."""
        logger.debug("a client of the metrics was lost", exc_info=True)


def free_port(address: str, port: int) -> int:
    """`port`, or a free one for 0. Raises ConfigurationError where nobody could listen there now."""
    family, place = _place(address, port)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
        except OSError as error:
            raise _refused(address, port, error) from None
        return int(listener.getsockname()[1])


def _place(address: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """IPv4 first, as clients try it where a name has both."""
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        message = f"--metrics-address: {address} is no address of this machine, nor a name of one"
        raise ConfigurationError(message, setting="--metrics-address") from None
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, place


def _refused(address: str, port: int, error: OSError) -> ConfigurationError:
    problem = f"can't listen on {address}:{port} ({error.strerror}); another port may be free, and 0 takes one"
    return ConfigurationError(f"--metrics-port: {problem}", setting="--metrics-port")


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "keyfleet"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = SILENT_S

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        try:
            page = self.server.pages.at(self.path.partition("?")[0], self.headers.get("Accept", ""))
        except Exception:
            logger.exception("a page of the metrics can't be made")
            page = BROKEN
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: every scrape would be a line."""
