"""What the workers say of themselves, as a producer reads it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, cast

import redis

from keyfleet import redis_keys

__all__ = ["FleetStatus", "LimitStatus", "WorkerStatus", "read_fleet_status"]


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit of a quota: `used` of `amount` of `unit` in the last `window_s`."""

    quota: str
    unit: str
    amount: int
    window_s: int
    used: int


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker process. `waits` maps queues to (reason, end in seconds since the epoch)."""

    key_name: str
    host: str
    in_flight: int
    slots: int
    short_of_slots: bool
    waits: dict[str, tuple[str, float]]
    limits: tuple[LimitStatus, ...]
    totals: dict[str, int]


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All workers that are alive."""

    workers: tuple[WorkerStatus, ...] = ()

    def waits(self, queues: set[str]) -> dict[str, int]:
        """How many workers wait for each reason on any of `queues` now."""
        now_s = time.time()
        reasons: dict[str, int] = {}
        for worker in self.workers:
            for queue, (reason, until_s) in worker.waits.items():
                if queue in queues and until_s > now_s:
                    reasons[reason] = reasons.get(reason, 0) + 1
        return reasons

    def all_keys_unusable(self, queues: set[str]) -> str | None:
        """Why no worker can do anything for `queues`, where each of them has a key that was refused or is empty."""
        now_s = time.time()
        found = []
        for worker in self.workers:
            reasons = [
                reason for queue, (reason, until_s) in worker.waits.items() if queue in queues and until_s > now_s
            ]
            if worker.in_flight or not reasons or not all(reason.startswith("key_unusable") for reason in reasons):
                return None
            found.append(f"{worker.key_name}: {reasons[0].partition(': ')[2]}")
        return "; ".join(sorted(set(found))) or None


def read_fleet_status(client: redis.Redis, fleet: str) -> FleetStatus:
    """The present status of `fleet`: of every worker whose own, which expires, still stands. Raises redis.RedisError.

    What a worker of another version says and this one can't read is left out.
    """
    ids = cast("list[bytes]", client.zrange(redis_keys.workers(fleet), 0, -1))
    if not ids:
        return FleetStatus()
    texts = cast("list[bytes | None]", client.mget([redis_keys.worker(fleet, name.decode()) for name in ids]))
    found = (_worker(text) for text in texts if text is not None)
    return FleetStatus(tuple(worker for worker in found if worker is not None))


def _worker(text: bytes) -> WorkerStatus | None:
    try:
        fields: dict[str, Any] = json.loads(text)
        return WorkerStatus(
            key_name=fields["key"],
            host=fields["host"],
            in_flight=fields["in_flight"],
            slots=fields["slots"],
            short_of_slots=fields["short_of_slots"],
            waits={queue: (wait[0], wait[1]) for queue, wait in fields["waits"].items()},
            limits=tuple(LimitStatus(**limit) for limit in fields["limits"]),
            totals=fields["totals"],
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
