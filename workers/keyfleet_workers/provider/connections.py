"""Pooled connections of `requests` that tell when a request was written, and keep TCP alive."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from requests import Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

from keyfleet.clock import elapsed_s
from keyfleet_workers.provider.ongoing_call import OngoingCall

__all__ = ["StampingAdapter"]

KEEPALIVE_IDLE_S = 60
"""Silence after which the kernel probes a connection: below the idle limits of common NATs and balancers."""

KEEPALIVE_INTERVAL_S = 15
KEEPALIVE_PROBES = 4

REUSE_WITHIN_S = 30.0
"""A connection that was idle for longer isn't used again: on a path that forgets idle connections without a word, its
request would cost an attempt or hang, where a new connection costs a handshake (s)."""

_call = threading.local()


def _keepalive_options() -> list[tuple[int, int, int]]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    wanted = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_S,
        "TCP_KEEPALIVE": KEEPALIVE_IDLE_S,  # macOS's name for the idle time
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_S,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
    }
    return options + [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)
    ]


def _write(connection: HTTPConnection, request: Callable[..., None], args: Any, kwargs: Any) -> None:
    """Connect, then write, so that it is known whether anything may have been written when one of them fails."""
    if connection.is_closed:
        connection.connect()
    ongoing: OngoingCall | None = getattr(_call, "ongoing", None)
    if ongoing is not None:
        ongoing.goes_over(connection.sock)
    _call.is_begun = True
    request(*args, **kwargs)
    _call.written_s = elapsed_s()


class _StampingHTTP(HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _write(self, super().request, args, kwargs)


class _StampingHTTPS(HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _write(self, super().request, args, kwargs)


class _StampingSocksHTTP(SOCKSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _write(self, super().request, args, kwargs)


class _StampingSocksHTTPS(SOCKSHTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _write(self, super().request, args, kwargs)


class _FreshConnections(HTTPConnectionPool):
    """Closes what was idle for too long as it comes out of the pool; it connects anew with its request."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        if elapsed_s() - getattr(connection, "idle_since_s", float("inf")) > REUSE_WITHIN_S:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        ongoing: OngoingCall | None = getattr(_call, "ongoing", None)
        if conn is not None:
            conn.idle_since_s = elapsed_s()
            if ongoing is not None:
                ongoing.leaves(conn.sock)
        super()._put_conn(conn)


class _StampingHTTPPool(_FreshConnections):
    ConnectionCls = _StampingHTTP


class _StampingHTTPSPool(_FreshConnections, HTTPSConnectionPool):
    ConnectionCls = _StampingHTTPS


class _StampingSocksHTTPPool(_FreshConnections):
    ConnectionCls = _StampingSocksHTTP


class _StampingSocksHTTPSPool(_FreshConnections, HTTPSConnectionPool):
    ConnectionCls = _StampingSocksHTTPS


_POOLS = {"http": _StampingHTTPPool, "https": _StampingHTTPSPool}
_SOCKS_POOLS = {"http": _StampingSocksHTTPPool, "https": _StampingSocksHTTPSPool}


class StampingAdapter(HTTPAdapter):
    """An adapter without hidden retries, whose calls leave the time at which they were written.

    `connections` is how many idle connections to one host are kept. For one key: `verify`, client certificate and the
    proxy of an address are the same in every call, which saves finding the pool anew each time. Responses have
    status, headers, address and body, but no cookies.
    """

    def __init__(self, connections: int) -> None:
        self._pools: dict[tuple[str, str], Any] = {}
        super().__init__(pool_connections=4, pool_maxsize=connections, max_retries=0, pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, socket_options=_keepalive_options(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, socket_options=_keepalive_options(), **kwargs)
        manager.pool_classes_by_scheme = _SOCKS_POOLS if str(proxy).lower().startswith("socks") else _POOLS
        return manager

    def get_connection_with_tls_context(self, request: Any, verify: Any, *args: Any, **kwargs: Any) -> Any:
        host = urlsplit(request.url)[:2]
        pool = self._pools.get(host)
        if pool is None:
            pool = self._pools[host] = super().get_connection_with_tls_context(request, verify, *args, **kwargs)
        return pool

    def close(self) -> None:
        self._pools.clear()
        super().close()

    def build_response(self, req: Any, resp: Any) -> Response:
        response = Response()
        response.status_code = resp.status
        response.headers = resp.headers  # urllib3's own headers are case-insensitive too
        response.raw = resp
        response.url = req.url
        return response

    @staticmethod
    def begin_call(ongoing: OngoingCall | None = None) -> None:
        """Forget what is known of this thread's last call. The next one can be stopped by `ongoing`."""
        _call.ongoing = ongoing
        _call.is_begun = False
        _call.written_s = None

    @staticmethod
    def is_begun() -> bool:
        """Whether anything of this thread's last call may have been written."""
        return getattr(_call, "is_begun", False)

    @staticmethod
    def written_s() -> float | None:
        """When this thread's last call was wholly written (monotonic clock), None if it was not."""
        return getattr(_call, "written_s", None)
