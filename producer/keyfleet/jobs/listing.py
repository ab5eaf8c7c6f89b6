"""Which jobs there are, and how they stand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import redis

from keyfleet import redis_keys
from keyfleet.ledger import JobRecord, JobState
from keyfleet.ledger.codec import split_request_key
from keyfleet.ledger.queues import queue_names_in
from keyfleet.redis_keys import QueueKeys

__all__ = [
    "ListedJob",
    "OpenCounts",
    "job_state",
    "list_jobs",
    "open_counts",
    "paused_jobs",
    "queue_names",
    "read_records",
    "request_keys",
    "server_now_ms",
]

SCAN_COUNT = 1000
"""How many members one step of a scan looks at."""

AT_ONCE = 500
"""Requests, or jobs, that one round trip asks for."""


@dataclass(slots=True)
class OpenCounts:
    """A job's requests that have no outcome yet."""

    ready: int = 0
    running: int = 0
    delayed: int = 0

    @property
    def total(self) -> int:
        return self.ready + self.running + self.delayed


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job's record, and what of it is open."""

    record: JobRecord
    open: OpenCounts
    is_paused: bool = False

    def state(self, now_ms: int) -> JobState:
        """As people call it."""
        return job_state(self.record, now_ms, is_paused=self.is_paused)


def job_state(record: JobRecord, now_ms: int, *, is_paused: bool) -> JobState:
    """As people call it."""
    state = record.state(now_ms)
    return JobState.PAUSED if is_paused and state in (JobState.RUNNING, JobState.INTERRUPTED) else state


def server_now_ms(client: redis.Redis) -> int:
    """The server's clock. Raises redis.RedisError."""
    seconds, microseconds = cast("tuple[int, int]", client.time())
    return seconds * 1000 + microseconds // 1000


def list_jobs(client: redis.Redis, fleet: str) -> list[ListedJob]:
    """All jobs that `fleet` knows, the one begun last first. Raises redis.RedisError."""
    counts = open_counts(client, fleet, queue_names(client, fleet))
    paused = paused_jobs(client, fleet)
    listed = [
        ListedJob(record, counts.get(record.job_id, OpenCounts()), record.job_id in paused)
        for record in read_records(client, fleet)
    ]
    return sorted(listed, key=lambda job: -job.record.begun_ms)


def read_records(client: redis.Redis, fleet: str) -> Iterator[JobRecord]:
    """The records of all jobs of `fleet`; ids whose record has expired are removed on the way."""
    ids = (name.decode(errors="replace") for name in client.sscan_iter(redis_keys.jobs(fleet), count=SCAN_COUNT))
    while batch := list(islice(ids, AT_ONCE)):
        pipeline = client.pipeline(transaction=False)
        for job_id in batch:
            pipeline.hgetall(redis_keys.job(fleet, job_id))
        for job_id, found in zip(batch, cast("list[dict[bytes, bytes]]", pipeline.execute()), strict=True):
            if found:
                yield JobRecord.of(fleet, job_id, found)
            else:
                with contextlib.suppress(redis.exceptions.NoPermissionError):  # of a user who may only look
                    client.srem(redis_keys.jobs(fleet), job_id)


def paused_jobs(client: redis.Redis, fleet: str) -> set[str]:
    """The ids of the jobs that are paused. Raises redis.RedisError."""
    found = cast("set[bytes]", client.smembers(redis_keys.paused(fleet)))
    return {job_id.decode(errors="replace") for job_id in found}


def queue_names(client: redis.Redis, fleet: str) -> list[str]:
    """All queues of `fleet`."""
    return queue_names_in(cast("set[bytes]", client.smembers(redis_keys.queues(fleet))))


def request_keys(client: redis.Redis, fleet: str, queue: str, job_id: str | None = None) -> Iterator[list[bytes]]:
    """The requests of a queue, or those of one job there, in batches."""
    places = QueueKeys(fleet, queue).places
    rows = client.hscan_iter(places, match=f"{job_id}:*" if job_id else None, count=SCAN_COUNT)
    keys = (key for key, _ in rows)
    while batch := list(islice(keys, AT_ONCE)):
        yield batch


def open_counts(
    client: redis.Redis, fleet: str, queues: Sequence[str], job_id: str | None = None
) -> dict[str, OpenCounts]:
    """What jobs, or one job, have open in `queues`, by job. Raises redis.RedisError."""
    counts: dict[str, OpenCounts] = {}
    for queue in queues:
        keys = QueueKeys(fleet, queue)
        for batch in request_keys(client, fleet, queue, job_id):
            pipeline: Any = client.pipeline(transaction=False)
            pipeline.hmget(keys.leases, batch)
            pipeline.zmscore(keys.delayed, batch)
            leases, delays = pipeline.execute()
            for key, lease, delay in zip(batch, leases, delays, strict=True):
                count = counts.setdefault(split_request_key(key.decode(errors="replace"))[0], OpenCounts())
                count.running += lease is not None
                count.delayed += lease is None and delay is not None
                count.ready += lease is None and delay is None
    return counts
