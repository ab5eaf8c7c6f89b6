"""A fair share of all keys, leased in the fleet: one host alone serves every key, ten of them a tenth each."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import redis

from keyfleet.config import KeyConfig
from keyfleet_workers.key_leases import KeyLease, KeyLeases

__all__ = ["SharedKeys"]

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Interval of looking at who holds which keys (s)."""

SETTLE_S = 3.0
"""How long a place stays free before somebody who has a key already takes it (s): others may just be starting."""

SHARER = ":share"
"""What the names of those end with who share, and so may be relieved of a key."""


@dataclass(slots=True)
class SharedKeys:
    """As many of the keys' places as every other sharer has, give or take one; a key has `workers` places.

    A sharer without a key takes a free place at once, and one with keys when it has stayed free for `SETTLE_S`. Where
    none is free, a sharer takes over places of the one that holds most, as long as that one has two more. No lease of
    a worker that was told its key, or leases a single one, is taken over. So the shares follow the number of hosts, a
    key whose secret only one host has stays there, and what a dead host held is served again within a lease.

    `workers_per_key` and `can_serve` are as in `LeasedKey`.
    """

    host_id: str
    leases: KeyLeases
    can_serve: Callable[[KeyConfig], bool]
    workers_per_key: int | None = None
    clock: Callable[[], float] = time.monotonic
    _held: list[KeyLease] = field(default_factory=list)
    _look_due_s: float = field(default=float("-inf"))
    _free_since_s: dict[str, float] = field(default_factory=dict)
    _configured: tuple[str, ...] = ()
    _unserved: frozenset[str] = frozenset()
    _is_away: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def candidates(self, keys: Sequence[KeyConfig]) -> tuple[KeyConfig, ...]:
        """The keys whose secrets are on this host; says once which others there are."""
        unserved = frozenset(key.name for key in keys if not self.can_serve(key))
        if unserved - self._unserved:
            logger.warning("not served here, as their secrets aren't set on this host: %s", ", ".join(sorted(unserved)))
        self._configured, self._unserved = tuple(key.name for key in keys), unserved
        return tuple(key for key in keys if key.name not in unserved)

    def wanted(self, usable: Sequence[KeyConfig]) -> dict[str, int]:
        """The places that are leased, by their keys' names; looks every second whether there is more or less to do."""
        names = {key.name for key in usable}
        self._held = [lease for lease in self._held if lease.key_name in names]
        if usable and self.clock() >= self._look_due_s:
            self._look_due_s = self.clock() + LOOK_S
            try:
                self._share(usable)
            except redis.RedisError as error:
                if not self._is_away:
                    logger.warning("keys can't be shared out now: the broker doesn't answer (%s)", type(error).__name__)
                self._is_away = True
            else:
                self._is_away = False
        return dict(Counter(lease.key_name for lease in self._held))

    def _share(self, usable: Sequence[KeyConfig]) -> None:
        """Take what is free and due, else relieve whoever holds most. Raises redis.RedisError."""
        if self._held:
            self.leases.renew(self._held)  # a server that lost everything shows these places free, until this
        most = {key.name: self.workers_per_key or key.workers for key in usable}
        holders = self.leases.holders(self._configured)
        free = {name: most[name] - len(holders[name]) for name in most if most[name] > len(holders[name])}
        now_s = self.clock()
        self._free_since_s = {name: self._free_since_s.get(name, now_s) for name in free}
        due = [name for name, since_s in self._free_since_s.items() if now_s - since_s >= SETTLE_S]
        others = _held_by_others(holders, self._name)
        if free and not self._held:
            self._take([(name, most[name]) for name in free], 1)
        elif due:
            places = sum(free[name] for name in due)
            self._take([(name, most[name]) for name in due], math.ceil(places / (len(others) + 1)))
        elif not free and others:
            self._relieve(others, most)

    @property
    def _name(self) -> str:
        return f"{self.host_id}{SHARER}"

    def _next_holder(self) -> str:
        return f"{self._name}:{next(self._numbers)}"

    def _take(self, candidates: Sequence[tuple[str, int]], count: int) -> None:
        for _ in range(count):
            lease = self.leases.acquire(candidates, self._next_holder())
            if lease is None:
                return
            self._note(lease)

    def _relieve(self, others: Mapping[str, Sequence[tuple[str, str]]], most: Mapping[str, int]) -> None:
        """Take over a part of what the fullest other sharer has more: a quarter, as others do so at the same time."""
        fullest = max(others.values(), key=len)
        count = (len(fullest) - len(self._held) + 2) // 4
        for name, holder in [(name, holder) for name, holder in fullest if name in most][: max(count, 0)]:
            lease = self.leases.take_over(name, most[name], holder, self._next_holder())
            if lease is not None:
                self._note(lease)

    def _note(self, lease: KeyLease) -> None:
        self._held.insert(0, lease)
        logger.info("leased key %s, one of %d held here", lease.key_name, len(self._held))

    def lease(self, key: KeyConfig) -> KeyLease:
        """The lease of `key`, of several the one that was given longest ago."""
        for lease in self._held:
            if lease.key_name == key.name:
                self._held.remove(lease)
                self._held.append(lease)
                return lease
        raise LookupError(f"key {key.name} is not leased")

    def lost(self, lease: KeyLease) -> None:
        """Another sharer serves the key now."""
        if lease in self._held:
            logger.info("key %s went to others", lease.key_name)
            self._held.remove(lease)

    def set_aside(self, key: KeyConfig, lived_s: float) -> bool:
        """Such workers stay with their key."""
        return False


def _held_by_others(holders: dict[str, list[str]], own: str) -> dict[str, list[tuple[str, str]]]:
    """What each other sharer holds: (key name, holder)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, names in holders.items():
        for holder in names:
            sharer = holder.rpartition(":")[0]
            if sharer.endswith(SHARER) and sharer != own:
                found.setdefault(sharer, []).append((name, holder))
    return found
