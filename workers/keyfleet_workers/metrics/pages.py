"""What is served: metrics, and whether this host's workers live and are ready."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

__all__ = ["Page", "Pages"]

PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer over HTTP."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = PLAIN


def _nothing() -> None:
    """Nothing is to be done before metrics are read."""


@dataclass(slots=True)
class Pages:
    """The pages of one host's workers. Safe for threads.

    `workers` tells the ids of the workers that serve a key here now, `is_live` whether who starts them is at work.
    `before_reading` is called now and then, and before the registry is read.
    """

    registry: CollectorRegistry
    client: redis.Redis
    workers: Callable[[], list[str]]
    is_live: Callable[[], bool] = lambda: True
    before_reading: Callable[[], None] = _nothing
    _reading: threading.Lock = field(init=False, default_factory=threading.Lock)

    def at(self, path: str, accept: str) -> Page:
        """The page at `path`. `accept` is the header in which Prometheus says which of its formats it reads."""
        if path == "/metrics":
            return self._metrics(accept)
        if path == "/healthz":
            return Page(200, b"live\n") if self.is_live() else Page(503, b"the supervisor has stopped working\n")
        if path == "/readyz":
            return self._readiness()
        return Page(404, b"here are /metrics, /healthz and /readyz\n")

    def _metrics(self, accept: str) -> Page:
        encode, content_type = choose_encoder(accept)
        with self._reading:
            self.before_reading()
            return Page(200, encode(self.registry), content_type)

    def _readiness(self) -> Page:
        with self._reading:
            self.before_reading()
        try:
            self.client.ping()
        except redis.RedisError:
            return Page(503, b"the broker doesn't answer\n")
        return Page(200, b"ready\n") if self.workers() else Page(503, b"no key is served here\n")
