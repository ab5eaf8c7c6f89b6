"""The pools of quota that a key draws on, with limits that are configured and limits that were learned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from keyfleet import redis_keys
from keyfleet.config import UNITS, KeyConfig, Pool, Unit, scaled_amount
from keyfleet.contract import Cost
from keyfleet_workers.limiter import QuotaLimit

__all__ = ["UNBOUNDED", "Quota", "QuotaBook", "QuotaPool", "group_scope"]

UNBOUNDED = 2**53 - 1
"""How many of a unit a key without limits of it can start, as Lua's numbers go."""


@dataclass(frozen=True, slots=True)
class QuotaPool:
    """Limits that requests of some models and keys draw on together.

    `is_configured` names the units whose limits somebody configured; those of others are learned, or not known yet.
    """

    name: str
    limits: tuple[QuotaLimit, ...]
    is_configured: frozenset[Unit] = frozenset()


@dataclass(slots=True)
class Quota:
    """The limits that one key draws on for one model.

    `name` is that of the innermost pool, `pools` has the outermost first, and `limits` are those of all pools in
    this order. `granted_s` holds, per window, when this worker was last granted anything (monotonic clock): a window
    that the server doesn't know although it is younger than that has been lost there. Quotas of one key share it,
    since they may share windows.
    """

    name: str
    limits: tuple[QuotaLimit, ...]
    granted_s: dict[str, float] = field(default_factory=dict)
    pools: tuple[QuotaPool, ...] = ()

    def costs(self, cost: Cost) -> tuple[int, ...]:
        """What one call of `cost` takes of each limit."""
        return tuple(limit.cost(cost) for limit in self.limits)

    def known(self, now_s: float) -> list[bool]:
        """Per limit, whether this worker was granted anything within its last window."""
        return [now_s - self.granted_s.get(limit.key, float("-inf")) < limit.window_ms / 1000 for limit in self.limits]

    def note_grant(self, now_s: float) -> None:
        """Remember that the server has granted on all limits now."""
        for limit in self.limits:
            self.granted_s[limit.key] = now_s

    def guard_s(self) -> float:
        """The narrowest guard (s); endless where there is no limit."""
        return min((limit.guard_ms / 1000 for limit in self.limits), default=float("inf"))

    def shortest_window_s(self) -> float:
        """The shortest window (s); endless where there is no limit."""
        return min((limit.window_ms / 1000 for limit in self.limits), default=float("inf"))

    def largest_cost(self) -> Cost:
        """The largest request that can ever start here."""
        return Cost(self._least("tokens"), self._least("images"))

    def _least(self, unit: Unit) -> int:
        return min((limit.amount for limit in self.limits if limit.unit == unit), default=UNBOUNDED)

    def learner(self, unit: Unit) -> str | None:
        """The name of the pool that learns limits of `unit`: the outermost, so that all who share it know them.

        None where a pool has some configured: what the provider says then may be that pool's, and would bind the
        whole group to one project's limits.
        """
        if any(unit in pool.is_configured for pool in self.pools):
            return None
        return self.pools[0].name if self.pools else None


def group_scope(config: KeyConfig) -> str | None:
    """What names the account of a key's whole group; None for a key without a group."""
    return f"group:{quote(config.group, safe='')}" if config.group else None


class QuotaBook:
    """The quotas of one key, by model. Safe for threads."""

    def __init__(self, config: KeyConfig, *, fingerprint: str, share: float, guard: Callable[[int], int]) -> None:
        """`share` is what may be used of every limit; `guard` gives a window's guard (both in ms)."""
        self._config = config
        self._fingerprint = fingerprint
        self._share = share
        self._guard = guard
        self._lock = threading.Lock()
        self._granted_s: dict[str, float] = {}
        self._quotas: dict[tuple[str, ...], Quota] = {}
        self._learned: dict[str, dict[tuple[Unit, int, bool], int]] = {}

    def quota(self, model: str) -> Quota:
        """The quota that `model` draws on. Raises LookupError for a model that the key doesn't serve."""
        pools = self._config.pools_for(model)
        names = tuple(self.name_of(pool) for pool in pools)
        with self._lock:
            if names not in self._quotas:
                built = tuple(self._pool(name, pool) for name, pool in zip(names, pools, strict=True))
                limits = tuple(limit for pool in built for limit in pool.limits)
                self._quotas[names] = Quota(names[-1], limits, self._granted_s, built)
            return self._quotas[names]

    def quotas(self) -> list[Quota]:
        """The quotas that were drawn on so far. Two of them may share a pool."""
        with self._lock:
            return list(self._quotas.values())

    def pools(self) -> list[QuotaPool]:
        """The pools that were drawn on so far, each once."""
        return list({pool.name: pool for quota in self.quotas() for pool in quota.pools}.values())

    def learn(self, pool_name: str, unit: Unit, window_s: int, amount: int, *, is_ceiling: bool) -> bool:
        """Take in a limit that the provider named; whether that changed anything.

        What was said last of a window holds, ceilings apart from other limits. Quotas that were handed out before
        stay as they were.
        """
        with self._lock:
            learned = self._learned.setdefault(pool_name, {})
            if learned.get((unit, window_s, is_ceiling)) == amount:
                return False
            learned[unit, window_s, is_ceiling] = amount
            stale = [names for names in self._quotas if pool_name in names]
            for names in stale:
                del self._quotas[names]
            return True

    def name_of(self, pool: Pool) -> str:
        """The pool's name among all hosts: of the group, of the project in it, or of the account behind the secret."""
        group = group_scope(self._config)
        if pool.level == "group" and group:
            owner = group
        elif group and self._config.group_settings is not None and self._config.project:
            owner = f"project:{group.removeprefix('group:')}:{quote(self._config.project, safe='')}"
        else:
            owner = self._fingerprint
        return f"{owner}:{quote(pool.scope, safe='*')}"

    def _pool(self, name: str, pool: Pool) -> QuotaPool:
        amounts = self._amounts(name, pool)
        limits = tuple(
            QuotaLimit(
                redis_keys.quota_window(name, unit, window_s),
                unit,
                scaled_amount(amount, self._share),
                window_s * 1000,
                self._guard(window_s * 1000),
            )
            for (unit, window_s), amount in amounts.items()
        )
        return QuotaPool(name, limits, frozenset(unit for unit, _, _ in _configured(pool)))

    def _amounts(self, name: str, pool: Pool) -> dict[tuple[Unit, int], int]:
        """The amounts by unit and window (s), before any share is taken of them."""
        amounts = {(unit, window_s): amount for unit, window_s, amount in _configured(pool)}
        configured_units = {unit for unit, _ in amounts}
        for (unit, window_s, is_ceiling), amount in self._learned.get(name, {}).items():
            if is_ceiling or unit not in configured_units:
                amounts[unit, window_s] = min(amount, amounts.get((unit, window_s), amount))
        return amounts


def _configured(pool: Pool) -> Iterator[tuple[Unit, int, int]]:
    """Unit, window (s) and amount of each limit, those of requests first."""
    if pool.limits is not None:
        for unit in UNITS:
            for item in pool.limits.of(unit):
                yield unit, item.get_expiry(), item.amount
