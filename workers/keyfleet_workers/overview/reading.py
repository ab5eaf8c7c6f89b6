"""Reading how a fleet stands, in a few round trips."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from keyfleet.jobs import server_now_ms
from keyfleet.running.fleet_status import FleetStatus, read_fleet_status
from keyfleet_workers.overview.facts import read_configured, read_facts
from keyfleet_workers.overview.jobs import JobOverview, read_jobs
from keyfleet_workers.overview.keys import KeyOverview, read_keys
from keyfleet_workers.overview.queues import QueueOverview, read_queues

__all__ = ["Overview", "read_overview"]


@dataclass(frozen=True, slots=True)
class Overview:
    """A fleet at `now_ms` of the server's clock."""

    fleet: str
    now_ms: int
    status: FleetStatus
    keys: tuple[KeyOverview, ...]
    queues: tuple[QueueOverview, ...]
    jobs: tuple[JobOverview, ...]

    @property
    def without_worker(self) -> list[str]:
        """The names of keys that are configured and that nobody serves."""
        return [key.name for key in self.keys if not key.workers]


def read_overview(client: redis.Redis, fleet: str) -> Overview:
    """How `fleet` stands now. Raises redis.RedisError."""
    now_ms = server_now_ms(client)
    status = read_fleet_status(client, fleet)
    return Overview(
        fleet=fleet,
        now_ms=now_ms,
        status=status,
        keys=tuple(read_keys(client, status, read_facts(client, fleet), read_configured(client, fleet, now_ms))),
        queues=tuple(read_queues(client, fleet, status, now_ms)),
        jobs=tuple(read_jobs(client, fleet, now_ms)),
    )
