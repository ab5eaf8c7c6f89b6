"""Pausing a job: nothing more of it is sent until it is resumed. Calls in flight finish."""

from __future__ import annotations

from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.jobs.listing import queue_names, request_keys
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list
from keyfleet.scripts import Script, load_source

__all__ = ["finish_resuming", "pause_job", "resume_job"]


def pause_job(client: redis.Redis, fleet: str, job_id: str, *, declare_flags: bool = True) -> int | None:
    """Start nothing more of a job; returns how many of its requests waited, None for a job that has ended, which is
    left alone. Raises redis.RedisError.

    What is accepted, fails or is handed back later stays where it is too: workers look at the mark (`take.lua`).
    """
    if not _mark(client, fleet, job_id, pauses=True, declare_flags=declare_flags):
        return None
    return _move(client, fleet, job_id, pauses=True, declare_flags=declare_flags)


def resume_job(client: redis.Redis, fleet: str, job_id: str, *, declare_flags: bool = True) -> bool:
    """Let a paused job go on, each request in its old place; returns whether it was paused. Raises redis.RedisError.

    Where this breaks off, workers finish it (`finish_resuming`).
    """
    was_paused = _mark(client, fleet, job_id, pauses=False, declare_flags=declare_flags)
    _resume(client, fleet, job_id, declare_flags=declare_flags)
    return was_paused


def finish_resuming(client: redis.Redis, fleet: str, *, declare_flags: bool = True) -> None:
    """Let those requests go on that somebody has begun to resume. Raises redis.RedisError."""
    for job_id in cast("set[bytes]", client.smembers(redis_keys.resuming(fleet))):
        _resume(client, fleet, job_id.decode(), declare_flags=declare_flags)


def _resume(client: redis.Redis, fleet: str, job_id: str, *, declare_flags: bool) -> None:
    _move(client, fleet, job_id, pauses=False, declare_flags=declare_flags)
    client.srem(redis_keys.resuming(fleet), job_id)


def _mark(client: redis.Redis, fleet: str, job_id: str, *, pauses: bool, declare_flags: bool) -> bool:
    script = Script(client, load_source((LUA_PACKAGE, "mark_paused.lua"), declare_flags=declare_flags))
    keys = [redis_keys.paused(fleet), redis_keys.resuming(fleet), redis_keys.job(fleet, job_id)]
    return bool(script(keys, [int(pauses), job_id]))


def _move(client: redis.Redis, fleet: str, job_id: str, *, pauses: bool, declare_flags: bool) -> int:
    script = Script(client, load_source(QUEUE_LUA, (LUA_PACKAGE, "pause.lua"), declare_flags=declare_flags))
    return sum(
        script([*queue_key_list(fleet, queue), redis_keys.paused(fleet)], [int(pauses), job_id, *batch])
        for queue in queue_names(client, fleet)
        for batch in request_keys(client, fleet, queue, job_id)
    )
