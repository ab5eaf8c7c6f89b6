"""Rests of quotas and keys, shared by all hosts."""

from __future__ import annotations

import logging

import redis

from keyfleet import redis_keys
from keyfleet.scripts import Script, load_source

__all__ = ["Cooldowns"]

logger = logging.getLogger(__name__)


class Cooldowns:
    """Sets cooldowns; `take.lua` obeys them. Of several deadlines the longest wins."""

    def __init__(self, client: redis.Redis, key_scope: str, *, declare_flags: bool = True) -> None:
        """`key_scope` names the worker's key among all keys."""
        self._script = Script(client, load_source(("keyfleet_workers", "cooldown.lua"), declare_flags=declare_flags))
        self._key_scope = key_scope

    def set(self, scope: str, reason: str, rest_ms: int) -> None:
        """Let `scope` rest for `rest_ms` from now. An unreachable server is logged: the provider will say it again."""
        try:
            self._script([redis_keys.cooldown(scope)], [reason, max(1, rest_ms)])
        except redis.RedisError as error:
            logger.warning("a cooldown could not be shared (%s)", type(error).__name__)

    def set_key(self, reason: str, rest_ms: int) -> None:
        """Let the worker's key rest."""
        self.set(self._key_scope, reason, rest_ms)
