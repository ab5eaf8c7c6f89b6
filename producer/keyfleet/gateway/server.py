"""Serving the gateway with uvicorn: the socket, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import resource
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from keyfleet.errors import ConfigurationError
from keyfleet.gateway.app import Gateway
from keyfleet.gateway.protocol import bounded_protocol
from keyfleet.gateway.terms import OTHER_FILES, GatewayTerms

__all__ = ["GatewayServer", "base_url_of", "bind", "is_loopback"]

LAST_WORDS_S = 5.0
"""How long answers to calls that were ended may take to reach their clients (s)."""

LOOK_S = 0.05
"""Interval of looking how the end goes on (s)."""

INTERRUPTED = 130
"""Exit code of a server that was told twice to stop, so that it left calls behind."""

KEEP_ALIVE_S = 75
"""How long a connection may be idle. Longer than clients keep theirs, who would meet its end with their next call."""

_BACKLOG_CONNECTIONS = 128
"""More would only wait longer to be refused: what is accepted is counted at once."""


class GatewayServer(uvicorn.Server):
    """SIGTERM and SIGINT end it: no new connections and calls, and those under way have some time to their end. Calls
    that are not over by then are ended with the fleet, those that wait unpaid. A second signal ends all at once."""

    def __init__(
        self,
        gateway: Gateway,
        terms: GatewayTerms,
        *,
        close_fleet: Callable[[], None],
        on_listening: Callable[[], None] = lambda: None,
    ) -> None:
        """`close_fleet` ends all calls of the fleet with FleetClosed; it is called on another thread."""
        config = uvicorn.Config(
            gateway,
            http=bounded_protocol(terms, gateway.refuse),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(terms.grace_s + 2 * LAST_WORDS_S),
        )
        super().__init__(config)
        self._gateway = gateway
        self._terms = terms
        self._close_fleet = close_fleet
        self._on_listening = on_listening

    def serve_on(self, listener: socket.socket) -> int:
        """Serve until a signal comes; returns the exit code. Main thread only."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # ours are logged, and clients' are theirs
        _allow_files(self._terms.max_connections)
        self.run(sockets=[listener])
        return INTERRUPTED if self.force_exit else 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets=sockets)
        self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """uvicorn would raise the signal again at the end; here the end is what was asked for."""
        if self.should_exit:
            self.force_exit = True
            signal.signal(sig, signal.SIG_DFL)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in the time that is granted."""
        self._gateway.close()
        ending = asyncio.ensure_future(self._end_calls())
        try:
            await super().shutdown(sockets=sockets)
        finally:
            ending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ending

    async def _end_calls(self) -> None:
        """Once the time is over, or there is no more patience, have no call go on."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._terms.grace_s
        while loop.time() < until_s and not self.force_exit:
            for connection in list(self.server_state.connections):
                connection.shutdown()  # some were being accepted when all were told, and would stay for long
            await asyncio.sleep(LOOK_S)
        closing = asyncio.ensure_future(asyncio.to_thread(self._close_fleet))
        until_s = loop.time() + LAST_WORDS_S
        while loop.time() < until_s and not self.force_exit:
            await asyncio.sleep(LOOK_S)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await closing


def is_loopback(host: str) -> bool:
    """Whether all addresses of `host` are this machine's alone. Raises ConfigurationError for a name without any."""
    return all(ipaddress.ip_address(address[0]).is_loopback for _, address in _addresses(host, 0))


def bind(host: str, port: int) -> socket.socket:
    """A socket at the address, which doesn't listen yet. Raises ConfigurationError where it can't be had."""
    family, address = _addresses(host, port)[0]
    # TCP is named since asyncio switches Nagle's delay off only where a socket says so; it would add 40 ms to answers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host != "::" else 0)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"--port: can't listen on {host}:{port} ({error.strerror}); another port may be free, and 0 takes one",
            setting="--port",
        ) from None
    return listener


def base_url_of(listener: socket.socket) -> str:
    """What clients are to be given."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """IPv4 first, as clients try it where a name has both."""
    anywhere = "0.0.0.0"  # noqa: S104 - as was asked for
    try:
        found = socket.getaddrinfo(host or anywhere, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        message = f"--host: {host} is no address of this machine, nor a name of one"
        raise ConfigurationError(message, setting="--host") from None
    addresses: list[tuple[socket.AddressFamily, tuple[Any, ...]]] = [(one[0], one[4]) for one in found]
    return sorted(addresses, key=lambda one: one[0] != socket.AF_INET)


def _allow_files(count: int) -> None:
    """Each connection is an open file; systems allow few of them where nobody asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
