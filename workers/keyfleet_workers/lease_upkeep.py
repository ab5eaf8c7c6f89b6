"""Keeps the leases of keys that this host's workers live on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis

from keyfleet_workers.key_leases import KeyLease, KeyLeases

__all__ = ["LeaseUpkeep"]

logger = logging.getLogger(__name__)

AGAIN_S = 1.0
"""Pause before a server that didn't answer is asked again (s)."""


@dataclass(slots=True)
class LeaseUpkeep:
    """Renews each lease three times in its life, tells as often which keys are configured, and gives back the leases
    that nobody needs any more.

    While the server is away all are taken to stand: nobody else can take a key there either.
    """

    leases: KeyLeases
    lease_s: float
    clock: Callable[[], float] = time.monotonic
    _known: frozenset[KeyLease] = frozenset()
    _due_s: float = field(default=float("-inf"))
    _is_away: bool = False

    def look(self, held: frozenset[KeyLease], configured: Sequence[str] = ()) -> frozenset[KeyLease]:
        """Do what is due for the leases held now; returns those among them that are lost. `configured` are the keys of
        this host. Never raises."""
        now_s = self.clock()
        if held == self._known and now_s < self._due_s:
            return frozenset()
        if self._is_away and now_s < self._due_s:
            return frozenset()
        try:
            lost = self._keep(held)
            self.leases.tell_configured(configured)
        except redis.RedisError as error:
            if not self._is_away:
                logger.warning("leases of keys can't be renewed now (%s)", type(error).__name__)
            self._is_away, self._due_s = True, now_s + AGAIN_S
            return frozenset()
        self._is_away, self._due_s, self._known = False, now_s + self.lease_s / 3, held - lost
        return lost

    def _keep(self, held: frozenset[KeyLease]) -> frozenset[KeyLease]:
        self.leases.give_back(sorted(self._known - held, key=lambda lease: lease.holder))
        asked = sorted(held, key=lambda lease: lease.holder)
        stands = self.leases.renew(asked)
        return frozenset(lease for lease, one in zip(asked, stands, strict=True) if not one)
