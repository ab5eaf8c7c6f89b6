"""Leases of keys by their names: which worker serves which key, seen by the whole fleet. No secret is part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis

from keyfleet import redis_keys
from keyfleet.jobs import server_now_ms
from keyfleet.scripts import Script, load_source

__all__ = ["KeyLease", "KeyLeases"]

PACKAGE = "keyfleet_workers"

CALL_MS = 600_000
"""How long a call for workers that have left a key out can be heard (ms); longer than they leave it out."""


CONFIGURED_MS = 900_000
"""How long a key counts as configured after a host has said so (ms): hosts are restarted."""


@dataclass(frozen=True, slots=True)
class KeyLease:
    """`holder` serves the key. `most` is how many may, 0 for a worker that was told to serve it whoever else does."""

    key_name: str
    holder: str
    most: int


class KeyLeases:
    """The leases of a fleet. Connects for each operation anew, so that its process can fork in between."""

    def __init__(
        self, connect: Callable[[], redis.Redis], fleet: str, *, lease_ms: int, declare_flags: bool = True
    ) -> None:
        self._connect = connect
        self._fleet = fleet
        self._lease_ms = lease_ms
        self._acquire, self._renew, self._take_over, self._call_back, self._configured = (
            load_source((PACKAGE, f"key_{name}.lua"), declare_flags=declare_flags)
            for name in ("lease_acquire", "lease_renew", "lease_take_over", "call_back", "configured")
        )

    def acquire(self, candidates: Sequence[tuple[str, int]], holder: str) -> KeyLease | None:
        """Lease one of `candidates`, (key name, most holders) in order of preference; None where none has room.

        The key with the fewest holders wins, of equal ones the first. Raises redis.RedisError.
        """
        if not candidates:
            return None
        keys = [redis_keys.holders(self._fleet, name) for name, _ in candidates]
        most = [number for _, number in candidates]
        with self._connect() as client:
            chosen = int(Script(client, self._acquire)(keys, [holder, self._lease_ms, *most]))
        return KeyLease(candidates[chosen - 1][0], holder, candidates[chosen - 1][1]) if chosen else None

    def take_over(self, key_name: str, most: int, of_holder: str, holder: str) -> KeyLease | None:
        """Put `holder` in the place of `of_holder`, who notices when it renews; None where that one holds the key no
        more. Raises redis.RedisError."""
        keys = [redis_keys.holders(self._fleet, key_name)]
        with self._connect() as client:
            is_taken = bool(Script(client, self._take_over)(keys, [holder, self._lease_ms, of_holder]))
        return KeyLease(key_name, holder, most) if is_taken else None

    def holders(self, key_names: Sequence[str]) -> dict[str, list[str]]:
        """Who holds which key now, by the keys' names. Raises redis.RedisError."""
        if not key_names:
            return {}
        with self._connect() as client:
            now_ms = server_now_ms(client)
            pipeline = client.pipeline(transaction=False)
            for name in key_names:
                pipeline.zrangebyscore(redis_keys.holders(self._fleet, name), f"({now_ms}", "+inf")
            found = pipeline.execute()
        return {name: [one.decode() for one in names] for name, names in zip(key_names, found, strict=True)}

    def renew(self, leases: Sequence[KeyLease]) -> list[bool]:
        """Prolong leases, for each False where it ran out and others have taken the key. Raises redis.RedisError."""
        if not leases:
            return []
        keys = [redis_keys.holders(self._fleet, lease.key_name) for lease in leases]
        pairs = [value for lease in leases for value in (lease.holder, lease.most)]
        with self._connect() as client:
            return [bool(stands) for stands in Script(client, self._renew)(keys, [self._lease_ms, *pairs])]

    def tell_configured(self, key_names: Sequence[str]) -> None:
        """Tell the fleet which keys this host has configured, so that those without a worker are seen too.

        Raises redis.RedisError.
        """
        if not key_names:
            return
        with self._connect() as client:
            Script(client, self._configured)([redis_keys.configured(self._fleet)], [CONFIGURED_MS, *key_names])

    def call_back(self, key_names: Sequence[str]) -> None:
        """Tell workers that have left these keys out that they can be used again. Raises redis.RedisError."""
        if not key_names:
            return
        keys = [redis_keys.called_back(self._fleet, name) for name in key_names]
        with self._connect() as client:
            Script(client, self._call_back)(keys, [CALL_MS])

    def called_back_s(self, key_names: Sequence[str]) -> dict[str, float]:
        """Those of the keys that workers were called back to, by how long ago (s). Raises redis.RedisError."""
        with self._connect() as client:
            pipeline = client.pipeline(transaction=False)
            for name in key_names:
                pipeline.pttl(redis_keys.called_back(self._fleet, name))
            left_ms = dict(zip(key_names, pipeline.execute(), strict=True))
        return {name: (CALL_MS - left) / 1000 for name, left in left_ms.items() if left >= 0}

    def give_back(self, leases: Sequence[KeyLease]) -> None:
        """End leases. Raises redis.RedisError."""
        if not leases:
            return
        with self._connect() as client:
            pipeline = client.pipeline(transaction=False)
            for lease in leases:
                pipeline.zrem(redis_keys.holders(self._fleet, lease.key_name), lease.holder)
            pipeline.execute()
