"""One key at a time, leased in the fleet: so that workers started without a name share out the keys by themselves."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import redis

from keyfleet.config import KeyConfig
from keyfleet_workers.key_leases import KeyLease, KeyLeases

__all__ = ["LeasedKey"]

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Interval of looking for a free key (s)."""

LEAVE_OUT_FIRST_S = 30.0
LEAVE_OUT_LONGEST_S = 300.0
"""How long a key that was set aside is left to itself: doubled each time it still can't be used (s)."""


@dataclass(frozen=True, slots=True)
class _LeftOut:
    since_s: float
    pause_s: float

    @property
    def until_s(self) -> float:
        return self.since_s + self.pause_s


@dataclass(slots=True)
class LeasedKey:
    """The key with the fewest holders that has room; another when it is lost or set aside.

    `workers_per_key` is how many workers may lease a key, None: as many as the key says. `can_serve` tells whether
    a key's secrets are on this host.
    """

    host_id: str
    leases: KeyLeases
    can_serve: Callable[[KeyConfig], bool]
    workers_per_key: int | None = None
    clock: Callable[[], float] = time.monotonic
    _held: KeyLease | None = None
    _left_out: dict[str, _LeftOut] = field(default_factory=dict)
    _look_due_s: float = field(default=float("-inf"))
    _said: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)
    _holder: str = ""

    def candidates(self, keys: Sequence[KeyConfig]) -> tuple[KeyConfig, ...]:
        """The keys whose secrets are on this host."""
        return tuple(key for key in keys if self.can_serve(key))

    def wanted(self, usable: Sequence[KeyConfig]) -> dict[str, int]:
        """The leased key; where none is, leases one if there is one."""
        if self._held is not None and self._held.key_name not in {key.name for key in usable}:
            self._held = None
        if self._held is None and self.clock() >= self._look_due_s:
            self._look_due_s = self.clock() + LOOK_S
            self._held = self._acquire(usable)
        return {self._held.key_name: 1} if self._held else {}

    def _acquire(self, usable: Sequence[KeyConfig]) -> KeyLease | None:
        self._holder = self._holder or f"{self.host_id}:{next(self._numbers)}"  # the same until it was answered
        try:
            free = self._not_left_out(usable)
            lease = self.leases.acquire([(key.name, self.workers_per_key or key.workers) for key in free], self._holder)
        except redis.RedisError as error:
            self._say(f"no key can be leased now: the broker doesn't answer ({type(error).__name__})")
            return None
        if lease is None:
            self._say(self._why_none(usable, free))
            return None
        self._said = self._holder = ""
        logger.info("leased key %s", lease.key_name)
        return lease

    def _not_left_out(self, usable: Sequence[KeyConfig]) -> list[KeyConfig]:
        """The keys that may be tried now. Raises redis.RedisError."""
        now_s = self.clock()
        left_out = [key.name for key in usable if self._is_left_out(key.name, now_s)]
        called_s = self.leases.called_back_s(left_out) if left_out else {}
        again = {name for name, ago_s in called_s.items() if now_s - ago_s > self._left_out[name].since_s}
        return [key for key in usable if key.name not in left_out or key.name in again]

    def _is_left_out(self, name: str, now_s: float) -> bool:
        return name in self._left_out and self._left_out[name].until_s > now_s

    def _why_none(self, usable: Sequence[KeyConfig], free: Sequence[KeyConfig]) -> str:
        taken = ", ".join(key.name for key in free)
        aside = ", ".join(key.name for key in usable if key not in free)
        if not usable:
            return "standing by: of no configured key the secret is set on this host"
        parts = [f"{taken} served by others"] if taken else []
        parts += [f"{aside} can't be used for now"] if aside else []
        return f"standing by: no key is free ({'; '.join(parts)})"

    def _say(self, text: str) -> None:
        if text != self._said:
            logger.warning("%s", text)
            self._said = text

    def lease(self, key: KeyConfig) -> KeyLease:
        """The lease that is held, which is of `key`."""
        if self._held is None or self._held.key_name != key.name:
            raise LookupError(f"key {key.name} is not leased")
        return self._held

    def lost(self, lease: KeyLease) -> None:
        """Look for another key."""
        if lease == self._held:
            logger.warning("the lease of key %s went to others", lease.key_name)
            self._held = None

    def set_aside(self, key: KeyConfig, lived_s: float) -> bool:
        """Leave the key out for a while, and look for another at once."""
        before = self._left_out.get(key.name)
        is_news = before is None or lived_s > before.pause_s
        pause_s = LEAVE_OUT_FIRST_S if is_news or before is None else min(2 * before.pause_s, LEAVE_OUT_LONGEST_S)
        self._left_out[key.name] = _LeftOut(self.clock(), pause_s)
        logger.warning("key %s can't be used for now; it is tried again in %.3g s", key.name, pause_s)
        if self._held is not None and self._held.key_name == key.name:
            self._held, self._look_due_s = None, self.clock()
        return True
