"""Where a job's requests are in the ledger: ready, held by a worker, or delayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from keyfleet.errors import MalformedEntry
from keyfleet.jobs.listing import SCAN_COUNT, queue_names
from keyfleet.ledger.codec import decode_attempts, request_key, split_request_key
from keyfleet.redis_keys import QueueKeys

__all__ = ["RequestPlace", "find_by_custom_id", "find_request"]


@dataclass(frozen=True, slots=True)
class RequestPlace:
    """One request without an outcome. `ahead` is how many are taken before it, None for one that isn't ready.

    `due_ms` is when one in backoff is ready again, by the server's clock; `holder` is the id of the worker that holds
    it, with the key's name and the host before the first colons; `failures` are the codes of its failed attempts, none
    for a user of Redis who may not read them (docs/operations.md).
    """

    request_id: str
    queue: str
    ahead: int | None = None
    due_ms: int | None = None
    holder: str | None = None
    failures: tuple[str, ...] = ()


def find_request(client: redis.Redis, fleet: str, job_id: str, request_id: str) -> RequestPlace | None:
    """Where a request is; None where it has its outcome, or was not accepted yet. Raises redis.RedisError."""
    key = request_key(job_id, request_id)
    for queue in queue_names(client, fleet):
        keys = QueueKeys(fleet, queue)
        pipeline: Any = client.pipeline(transaction=False)
        pipeline.hexists(keys.places, key)
        pipeline.zrank(keys.ready_urgent, key)
        pipeline.zrank(keys.ready_bulk, key)
        pipeline.zcard(keys.ready_urgent)
        pipeline.zscore(keys.delayed, key)
        pipeline.hget(keys.leases, key)
        pipeline.hget(keys.attempts, key)
        is_there, urgent_rank, bulk_rank, urgent, due_ms, token, attempts = pipeline.execute(raise_on_error=False)
        if isinstance(is_there, Exception):
            raise is_there
        if is_there:
            return RequestPlace(
                request_id,
                queue,
                ahead=urgent_rank if bulk_rank is None else urgent + bulk_rank,
                due_ms=None if due_ms is None else int(due_ms),
                holder=None if token is None else token.decode(errors="replace"),
                failures=_failures(attempts if isinstance(attempts, bytes) else b""),
            )
    return None


def _failures(attempts: bytes) -> tuple[str, ...]:
    try:
        return tuple(error.code for error in decode_attempts(attempts))
    except MalformedEntry:
        return ()


def find_by_custom_id(client: redis.Redis, fleet: str, custom_id: str) -> Iterator[tuple[str, str]]:
    """(job id, request id) of open requests that bear this `custom_id`. It looks at every open request.

    Raises redis.RedisError.
    """
    for queue in queue_names(client, fleet):
        rows = cast(
            "Iterator[tuple[bytes, bytes]]", client.hscan_iter(QueueKeys(fleet, queue).requests, count=SCAN_COUNT)
        )
        for key, record in rows:
            if _custom_id(record) == custom_id:
                yield split_request_key(key.decode(errors="replace"))


def _custom_id(record: bytes) -> object:
    try:
        return json.loads(record.partition(b"\n")[0]).get("context", {}).get("custom_id")
    except (ValueError, AttributeError):
        return None
