"""Pausing a job: nothing more of it is sent until it is resumed. Calls in flight finish."""

from __future__ import annotations

import redis

from keyfleet import redis_keys
from keyfleet.jobs.listing import queue_names, request_keys
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list
from keyfleet.scripts import Script, load_source

__all__ = ["pause_job", "resume_job"]


def pause_job(client: redis.Redis, fleet: str, job_id: str, *, declare_flags: bool = True) -> int:
    """Start nothing more of a job; returns how many of its requests waited. Raises redis.RedisError.

    What is accepted, fails or is handed back later stays where it is too: workers look at the mark (`take.lua`).
    """
    mark = load_source((LUA_PACKAGE, "mark_paused.lua"), declare_flags=declare_flags)
    Script(client, mark)([redis_keys.paused(fleet)], [job_id])
    return _move(client, fleet, job_id, pauses=True, declare_flags=declare_flags)


def resume_job(client: redis.Redis, fleet: str, job_id: str, *, declare_flags: bool = True) -> bool:
    """Let a paused job go on, each request in its old place; returns whether it was paused. Raises redis.RedisError."""
    was_paused = bool(client.srem(redis_keys.paused(fleet), job_id))
    _move(client, fleet, job_id, pauses=False, declare_flags=declare_flags)
    return was_paused


def _move(client: redis.Redis, fleet: str, job_id: str, *, pauses: bool, declare_flags: bool) -> int:
    script = Script(client, load_source(QUEUE_LUA, (LUA_PACKAGE, "pause.lua"), declare_flags=declare_flags))
    return sum(
        script(queue_key_list(fleet, queue), [int(pauses), *batch])
        for queue in queue_names(client, fleet)
        for batch in request_keys(client, fleet, queue, job_id)
    )
