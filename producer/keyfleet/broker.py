"""Connections to the Redis-compatible server that producers and workers share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from keyfleet.broker_address import celery_url, redis_url
from keyfleet.broker_trouble import trouble_in_words
from keyfleet.clock import elapsed_s
from keyfleet.config import redact_url
from keyfleet.errors import BrokerUnavailable

__all__ = ["OLDEST_SERVER", "SETTLING_S", "ServerWatch", "celery_url", "check_server", "connect", "syncs_always"]

OLDEST_SERVER = 7
"""Oldest major version of Redis: before it, scripts can't say that they free memory. Valkey began with 7.2."""

SOCKET_TIMEOUT_S = 20.0
"""A server that is silent for this long on a command is taken as gone (s)."""


SETTLING_S = 1.0
"""How long everybody may take to make good what a changed server has lost, before anything is taken from it (s)."""


class ServerWatch:
    """Notices on every new connection whether the server is still the one it was.

    A server that came back under a new `run_id` may have lost its last seconds, so whoever holds their twin must
    deliver it again before going on.
    """

    def __init__(self, *, refuse_first: bool = False) -> None:
        """`refuse_first` breaks the command that met the changed server, so that recovery can come before it."""
        self._refuse_first = refuse_first
        self._lock = threading.Lock()
        self._run_id: str | None = None
        self._changed = threading.Event()
        self._settled_s = float("-inf")
        self._tell: Callable[[], None] | None = None

    def tell_changes_to(self, tell: Callable[[], None]) -> None:
        """Have `tell` called at every change, on the thread whose connection met it."""
        self._tell = tell

    @property
    def changed(self) -> bool:
        """Whether a change was noticed and not yet dealt with."""
        return self._changed.is_set()

    def dealt_with(self) -> None:
        """What a change calls for has been done."""
        self.settle(SETTLING_S)
        self._changed.clear()

    def settle(self, for_s: float) -> None:
        """Others may take so long to deal with a change that this one may never have seen."""
        self._settled_s = max(self._settled_s, elapsed_s() + for_s)

    @property
    def is_settled(self) -> bool:
        """Whether there was no change, or others have had the time to deal with it too."""
        return not self.changed and elapsed_s() > self._settled_s

    @property
    def run_id(self) -> str:
        """Which start of the server the last connection met; empty before the first."""
        return self._run_id or ""

    def note_loss(self) -> None:
        """The server has lost everything without being restarted, which only its data tells."""
        self._changed.set()
        if self._tell is not None:
            self._tell()

    def on_connect(self, connection: Any) -> None:
        """redis-py's hook for a new connection."""
        connection.on_connect()
        connection.send_command("INFO", "server")
        run_id = _run_id(connection.read_response())
        with self._lock:
            before, self._run_id = self._run_id, run_id
        if before is not None and before != run_id:
            self._changed.set()
            if self._tell is not None:
                self._tell()
            if self._refuse_first:
                raise redis.ConnectionError("the server was restarted")


def _run_id(info: Any) -> str:
    text = info.decode() if isinstance(info, bytes) else str(info)
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return fields.get("run_id", "")


def connect(url: str, *, watch: ServerWatch | None = None, timeout_s: float = SOCKET_TIMEOUT_S) -> redis.Redis:
    """A client for the server at `url`. Opens no connection yet.

    It never retries by itself, so that a cut connection is reported at once.
    """
    options: dict[str, Any] = {"redis_connect_func": watch.on_connect} if watch else {}
    return redis.Redis.from_url(
        redis_url(url),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def check_server(client: redis.Redis, url: str) -> None:
    """Raise BrokerUnavailable unless a new enough server answers."""
    shown = redact_url(url)
    try:
        info = cast("dict[str, Any]", client.info("server"))
    except redis.RedisError as error:
        words = trouble_in_words(error, is_tls=redis_url(url).startswith("rediss://"))
        raise BrokerUnavailable(f"the broker at {shown} can't be used: {words}") from None
    version = str(info.get("redis_version", "0"))
    if int(version.split(".")[0]) < OLDEST_SERVER:
        raise BrokerUnavailable(f"the broker at {shown} is Redis {version}; Redis {OLDEST_SERVER} or Valkey is needed")


def syncs_always(client: redis.Redis) -> bool:
    """Whether the server syncs every write to disk, and so loses nothing in a crash; False where it doesn't say."""
    try:
        found = cast("dict[str, str]", client.config_get("append*"))
    except redis.RedisError:
        return False
    return bool(found.get("appendonly") == "yes" and found.get("appendfsync") == "always")
