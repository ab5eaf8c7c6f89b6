"""Limits that nobody configured, as answers tell them; shared by all hosts."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Sequence
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.config import UNITS
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.provider import LimitReport, SaidLimit
from keyfleet_workers.quota_pools import Quota

__all__ = ["LimitLearner"]

logger = logging.getLogger(__name__)

KEPT_S = 24 * 3600
"""What was learned is forgotten after so long without news (s): accounts are upgraded."""

FIRST_CALL_S = 10
"""So long nobody else begins to find out what limits a quota has (s); a first call that takes longer isn't waited for.
"""

_CEILING = "at_most"
_MET = "met"


class LimitLearner:
    """Learns the limits of one key's quota pools."""

    def __init__(self, client: redis.Redis, binding: KeyBinding) -> None:
        self._client = client
        self._binding = binding
        self._met: set[str] = set()
        self._id = uuid.uuid4().hex

    def is_met(self, quota: Quota) -> bool:
        """Whether it is known how fast `quota` may be used: it has limits, or its provider has answered once."""
        return bool(quota.limits) or quota.name in self._met

    def may_be_first(self, quota: Quota) -> bool:
        """Whether this worker's call is the one that shows how fast `quota` may be used; others wait for its answer.

        Where all workers found out by themselves, each of their first calls could be one too many; so could that of a
        worker that has just come and not read yet what others know.
        """
        key = redis_keys.first_call(quota.name)
        try:
            self._read([quota])
            if quota.name in self._met:
                return False
            if self._client.set(key, self._id, nx=True, ex=FIRST_CALL_S):
                return True
            return cast("bytes | None", self._client.get(key)) == self._id.encode()
        except redis.RedisError:
            return False

    def is_not_first(self, quota: Quota) -> None:
        """No call came of it: others need not wait."""
        key = redis_keys.first_call(quota.name)
        with contextlib.suppress(redis.RedisError):
            if cast("bytes | None", self._client.get(key)) == self._id.encode():
                self._client.delete(key)

    def note(self, quota: Quota, reports: Sequence[LimitReport], *, is_success: bool) -> None:
        """Take over what an answer tells of limits that nobody configured. An error without headers tells nothing."""
        is_first = not self.is_met(quota) and (is_success or bool(reports))
        for report in reports:
            pool = quota.learner(report.unit)
            if pool is not None and self._binding.learn(pool, report.unit, report.window_s, report.amount):
                self._store(pool, f"{report.unit}:{report.window_s}", report.amount)
        if is_first:
            self._met.add(quota.name)
            self._share(quota.name, _MET, 1)  # at last, so that whoever reads it reads the limits too

    def note_ceiling(self, quota: Quota, said: SaidLimit) -> None:
        """Take over a limit for which a request was too large, also where a larger one is configured."""
        if self._binding.learn(quota.name, said.unit, said.window_s, said.amount, is_ceiling=True):
            self._store(quota.name, f"{said.unit}:{said.window_s}:{_CEILING}", said.amount)

    def refresh(self) -> None:
        """Take over what other workers have learned. Raises redis.RedisError."""
        self._read(self._binding.quotas())

    def _read(self, quotas: Sequence[Quota]) -> None:
        pools = list({pool.name for quota in quotas for pool in quota.pools})
        pipeline = self._client.pipeline(transaction=False)
        for pool in pools:
            pipeline.hgetall(redis_keys.learned_limits(pool))
        for pool, found in zip(pools, cast("list[dict[bytes, bytes]]", pipeline.execute()), strict=True):
            for name, amount in found.items():
                self._take_over(pool, name.decode(errors="replace"), amount)

    def _take_over(self, pool: str, name: str, amount: bytes) -> None:
        if name == _MET:
            self._met.add(pool)
            return
        unit, _, rest = name.partition(":")
        window_s, _, ceiling = rest.partition(":")
        if unit in UNITS and window_s.isdecimal() and amount.isdigit():
            is_ceiling = ceiling == _CEILING
            self._binding.learn(pool, unit, int(window_s), int(amount), is_ceiling=is_ceiling)

    def _store(self, pool: str, name: str, amount: int) -> None:
        logger.info("learned a limit of %s: %s %d", pool, name, amount)
        self._share(pool, name, amount)

    def _share(self, pool: str, name: str, amount: int) -> None:
        key = redis_keys.learned_limits(pool)
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hset(key, mapping={name: amount})
            pipeline.expire(key, KEPT_S)
            pipeline.execute()
        except redis.RedisError as error:
            logger.info("a limit that was learned could not be shared (%s)", type(error).__name__)
