"""Growing back after a provider asked to slow down, rather than bursting."""

from __future__ import annotations

import logging

import redis

from keyfleet import redis_keys
from keyfleet.scripts import Script, load_source

__all__ = ["RAMP_LUA", "RAMP_STEP_MS", "Ramps"]

logger = logging.getLogger(__name__)

LUA_PACKAGE = "keyfleet_workers.limiter.lua"
RAMP_LUA = (LUA_PACKAGE, "ramp.lua")

RAMP_STEP_MS = 15 * 60 * 1000
"""In this time a share grows by half: OpenAI's advice after `slow_down` is to grow by at most half per 15 minutes (ms).
"""

LEAST_SHARE = 1 / 16
"""However often a provider asks, this share of each limit stays open."""


class Ramps:
    """Slows quota pools down, for all hosts. `take.lua` obeys."""

    def __init__(self, client: redis.Redis, *, step_ms: int = RAMP_STEP_MS, declare_flags: bool = True) -> None:
        self._step_ms = step_ms
        source = load_source(RAMP_LUA, (LUA_PACKAGE, "slow_down.lua"), declare_flags=declare_flags)
        self._script = Script(client, source)

    def slow_down(self, pool: str, granted_ms: int) -> None:
        """Halve what `pool` may use, because of a call granted at `granted_ms`; several calls in flight halve it once.

        An unreachable server is logged: the provider will ask again.
        """
        try:
            self._script([redis_keys.ramp(pool)], [granted_ms, self._step_ms, LEAST_SHARE])
        except redis.RedisError as error:
            logger.warning("a quota could not be slowed down for all hosts (%s)", type(error).__name__)
