"""Which keys the workers under one supervisor serve: every key, the one that was named, or what they lease."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from keyfleet.config import KeyConfig
from keyfleet_workers.key_leases import KeyLease

__all__ = ["Assignment", "EveryKey", "NamedKey"]


class Assignment(Protocol):
    """Says what a supervisor's workers serve. It is asked again and again, with the keys as they are configured now."""

    def candidates(self, keys: Sequence[KeyConfig]) -> tuple[KeyConfig, ...]:
        """The keys among `keys` that may ever be served here."""
        ...

    def wanted(self, usable: Sequence[KeyConfig]) -> dict[str, int]:
        """How many workers should serve which key now, of those that can be used."""
        ...

    def lease(self, key: KeyConfig) -> KeyLease:
        """What a new worker of `key` is known by in the fleet."""
        ...

    def lost(self, lease: KeyLease) -> None:
        """A lease has gone to others."""
        ...

    def set_aside(self, key: KeyConfig, lived_s: float) -> bool:
        """A worker, after `lived_s`, ended since its key can't be used for now. True: another is served instead."""
        ...


@dataclass(slots=True)
class EveryKey:
    """Every configured key, with as many workers as it says. `host_id` is unique to this supervisor."""

    host_id: str
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def candidates(self, keys: Sequence[KeyConfig]) -> tuple[KeyConfig, ...]:
        """All of them."""
        return tuple(keys)

    def wanted(self, usable: Sequence[KeyConfig]) -> dict[str, int]:
        """As many workers as each key says."""
        return {key.name: key.workers for key in usable}

    def lease(self, key: KeyConfig) -> KeyLease:
        """A place among the key's holders, however many there are."""
        return KeyLease(key.name, f"{self.host_id}:{next(self._numbers)}", 0)

    def lost(self, lease: KeyLease) -> None:
        """Can't be: there is room for any number."""

    def set_aside(self, key: KeyConfig, lived_s: float) -> bool:
        """Such workers stay with their key."""
        return False


@dataclass(slots=True)
class NamedKey(EveryKey):
    """One worker for the key named `name`, while it is configured."""

    name: str = ""

    def candidates(self, keys: Sequence[KeyConfig]) -> tuple[KeyConfig, ...]:
        """That key, if it is there."""
        return tuple(key for key in keys if key.name == self.name)

    def wanted(self, usable: Sequence[KeyConfig]) -> dict[str, int]:
        """One worker."""
        return {key.name: 1 for key in usable}
