"""How each queue stands: how much waits there, since when, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import redis

from keyfleet.jobs.listing import queue_names
from keyfleet.ledger import model_of
from keyfleet.ledger.queues import PAUSED_MS
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.wait_reasons import why_waiting

__all__ = ["QueueOverview", "read_queues"]

DELAYED_LOOKED_AT = 100
"""Of requests in backoff, those looked at for the oldest: they are in the order in which they come back."""


IN_BACKOFF = "in backoff after failed attempts"

PAUSED = "its jobs are paused; `keyfleet jobs resume` lets them go on"

COUNTS, HEADS = 5, 3
"""How many counts, and how many lists of its first requests, are read of a queue."""


@dataclass(frozen=True, slots=True)
class QueueOverview:
    """One model's queue. `oldest_s` is how long ago the oldest of what waits was accepted, None where nothing does.

    `why` is why it waits, in words, empty where nothing does; `wait_s` how long until some key is likely to start
    something again, None where nobody knows. `paused` counts requests of paused jobs, `delayed` those in backoff.
    `keys` is how many keys serve the model now.
    """

    name: str
    model: str
    ready_urgent: int
    ready_bulk: int
    running: int
    delayed: int
    paused: int
    oldest_s: float | None
    why: str
    wait_s: float | None
    keys: int

    @property
    def waiting(self) -> int:
        """Requests that no worker holds."""
        return self.ready_urgent + self.ready_bulk + self.delayed + self.paused


def read_queues(client: redis.Redis, fleet: str, status: FleetStatus, now_ms: int) -> list[QueueOverview]:
    """All queues by name. Raises redis.RedisError."""
    names = sorted(queue_names(client, fleet))
    pipeline: Any = client.pipeline(transaction=False)
    for name in names:
        _ask(pipeline, QueueKeys(fleet, name))
    answers = pipeline.execute()
    counts = [answers[at : at + COUNTS] for at in range(0, len(answers), COUNTS + HEADS)]
    heads = [answers[at + COUNTS : at + COUNTS + HEADS] for at in range(0, len(answers), COUNTS + HEADS)]
    firsts = [[*urgent, *bulk, *(request for request, _ in delayed)] for urgent, bulk, delayed in heads]
    oldest_ms = _oldest_ms(client, fleet, names, firsts)
    due_s = [max(0.0, (delayed[0][1] - now_ms) / 1000) if delayed else 0.0 for _, _, delayed in heads]
    return [
        _queue(name, counts[number], oldest_ms[number], due_s[number], status, now_ms)
        for number, name in enumerate(names)
    ]


def _ask(pipeline: Any, keys: QueueKeys) -> None:
    for name in (keys.ready_urgent, keys.ready_bulk, keys.running, keys.delayed):
        pipeline.zcard(name)
    pipeline.zcount(keys.delayed, PAUSED_MS, "+inf")
    pipeline.zrange(keys.ready_urgent, 0, 0)
    pipeline.zrange(keys.ready_bulk, 0, 0)
    pipeline.zrange(keys.delayed, 0, DELAYED_LOOKED_AT - 1, withscores=True)


def _oldest_ms(client: redis.Redis, fleet: str, names: list[str], heads: list[list[bytes]]) -> list[int | None]:
    """Per queue when the oldest of these requests was accepted, by the server's clock (ms)."""
    pipeline: Any = client.pipeline(transaction=False)
    for name, requests in zip(names, heads, strict=True):
        if requests:
            pipeline.hmget(QueueKeys(fleet, name).places, requests)
    places = iter(pipeline.execute())
    return [_earliest_ms(next(places)) if requests else None for requests in heads]


def _earliest_ms(places: list[bytes | None]) -> int | None:
    """Of places as `queue.lua` writes them; requests that were taken or ended meanwhile have none."""
    fields = (place.split() for place in places if place is not None)
    return min((int(parts[3]) for parts in fields if len(parts) > 3 and parts[3].isdigit()), default=None)


def _queue(
    name: str, counts: list[int], oldest_ms: int | None, due_s: float, status: FleetStatus, now_ms: int
) -> QueueOverview:
    """`due_s` is how long the first of what is in backoff stays there."""
    urgent, bulk, running, delayed, paused = counts
    why, wait_s = "", 0.0 if not paused else None
    if urgent + bulk:
        why, wait_s = why_waiting(status, name), status.wait_s(name, time.time())
    elif delayed > paused:
        why, wait_s = IN_BACKOFF, due_s
    elif paused:
        why = PAUSED
    return QueueOverview(
        name=name,
        model=model_of(name),
        ready_urgent=urgent,
        ready_bulk=bulk,
        running=running,
        delayed=delayed - paused,
        paused=paused,
        oldest_s=None if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000,
        why=why,
        wait_s=wait_s,
        keys=status.serving(name),
    )
