"""The names of jobs, for those who watch a worker."""

from __future__ import annotations

import threading

import redis

from keyfleet import redis_keys

__all__ = ["JobNames"]

MOST_NAMES = 1000
"""Names that are remembered."""


class JobNames:
    """For any thread."""

    def __init__(self, client: redis.Redis, fleet: str) -> None:
        self._client = client
        self._fleet = fleet
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}

    def name_of(self, job_id: str) -> str:
        """The name of a job; empty where it has none, or the server can't be asked now."""
        name = self._names.get(job_id)
        if name is None:
            try:
                found = self._client.hget(redis_keys.job(self._fleet, job_id), "name")
            except redis.RedisError:
                return ""
            name = found.decode(errors="replace") if isinstance(found, bytes) else ""
            self._remember(job_id, name)
        return name

    def _remember(self, job_id: str, name: str) -> None:
        with self._lock:
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            self._names[job_id] = name
