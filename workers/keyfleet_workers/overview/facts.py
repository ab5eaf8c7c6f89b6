"""What workers have written down of their keys, for those who have no secret of theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import redis

from keyfleet import redis_keys
from keyfleet_workers.holds import pool_scope

__all__ = ["KeyFacts", "read_configured", "read_facts"]


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """`disabled` is the scope of the hold by hand, `scopes` are all but those of the ways from hosts to the provider,
    which begin with `ways`. `pools` are the names of the key's quota pools."""

    provider: str
    group: str | None
    models: tuple[str, ...]
    disabled: str
    scopes: tuple[str, ...]
    ways: str
    pools: tuple[str, ...]

    def key_scopes(self, hosts: set[str]) -> list[str]:
        """The scopes of holds that keep the whole key, as seen from `hosts`."""
        return [*self.scopes, *(f"{self.ways}{host}" for host in sorted(hosts))]

    def pool_scopes(self) -> dict[str, str]:
        """The scopes of its quota pools, to their names."""
        return {pool_scope(name): name for name in self.pools}

    def host_of(self, scope: str) -> str | None:
        """The host whose way to the provider `scope` is; None for another scope."""
        return scope.removeprefix(self.ways) if scope.startswith(self.ways) else None


def read_facts(client: redis.Redis, fleet: str) -> dict[str, KeyFacts]:
    """By key name; what another version wrote and can't be read is left out. Raises redis.RedisError."""
    found = cast("dict[bytes, bytes]", client.hgetall(redis_keys.key_facts(fleet)))
    read = ((name.decode(errors="replace"), _facts(text)) for name, text in found.items())
    return {name: facts for name, facts in read if facts is not None}


def read_configured(client: redis.Redis, fleet: str, now_ms: int) -> list[str]:
    """The names of the keys that hosts of the fleet have configured. Raises redis.RedisError."""
    found = cast("list[bytes]", client.zrangebyscore(redis_keys.configured(fleet), f"({now_ms}", "+inf"))
    return sorted(name.decode(errors="replace") for name in found)


def _facts(text: bytes) -> KeyFacts | None:
    try:
        fields: dict[str, Any] = json.loads(text)
        group = fields["group"]
        return KeyFacts(
            provider=str(fields["provider"]),
            group=None if group is None else str(group),
            models=_texts(fields["models"]),
            disabled=str(fields["disabled"]),
            scopes=_texts(fields["scopes"]),
            ways=str(fields["ways"]),
            pools=_texts(fields["pools"]),
        )
    except (ValueError, LookupError, TypeError):
        return None


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError("expected a list")
    return tuple(map(str, values))
