"""Removes from the broker what nobody waits for any more."""

from __future__ import annotations

import redis

from keyfleet.jobs import finish_resuming, forget_gone_callers, purge_abandoned

__all__ = ["sweep"]


def sweep(client: redis.Redis, fleet: str, older_than_ms: int) -> None:
    """Forget callers that are gone, and jobs that nobody has looked after for so long; finish resuming jobs.

    Raises redis.RedisError.
    """
    forget_gone_callers(client, fleet)
    finish_resuming(client, fleet)
    purge_abandoned(client, fleet, older_than_ms)
