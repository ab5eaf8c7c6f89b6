"""A stand-in for the server that runs in the test's own process, on a clock that the test moves."""

from __future__ import annotations

import time
from typing import Any

import fakeredis
import redis

__all__ = ["ServerClock", "StandIn"]


class ServerClock:
    """The clock of every stand-in server: it stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def advance_ms(self, duration_ms: int) -> None:
        """Let time pass, or step back."""
        self.now_ms += duration_ms

    def time(self) -> float:
        """As `time.time`."""
        return self.now_ms / 1000

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class StandIn:
    """Makes empty stand-in servers that run Lua, on the clock of `server_clock`."""

    def __init__(self, clock: ServerClock) -> None:
        self.clock = clock

    def client(self) -> redis.Redis:
        """A client of a new server."""
        client: redis.Redis = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)))
        return client
