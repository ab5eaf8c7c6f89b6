"""What lets a key be used again after a hold was lifted: its models, and workers that have left it out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import redis

from keyfleet.jobs.listing import queue_names
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.key_leases import KeyLeases

__all__ = ["call_back", "find_models"]


def find_models(client: redis.Redis, fleet: str, key_name: str) -> int:
    """Let the key try all models again that it has lost; returns how many queues' there were.

    Raises redis.RedisError.
    """
    names = [QueueKeys(fleet, queue).lost for queue in queue_names(client, fleet)]
    return sum(cast("int", client.hdel(name, key_name)) for name in names)


def call_back(client: redis.Redis, fleet: str, key_names: Sequence[str], *, declare_flags: bool = True) -> None:
    """Have workers that left these keys out try them again at once. Raises redis.RedisError."""
    same_connections = partial(redis.Redis, connection_pool=client.connection_pool)
    KeyLeases(same_connections, fleet, lease_ms=1, declare_flags=declare_flags).call_back(key_names)
