"""Cancelling a job: nothing more of it is sent. Calls in flight finish, and their outcomes are kept."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from keyfleet import redis_keys
from keyfleet.jobs.listing import queue_names, request_keys
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source

__all__ = ["Cancelled", "cancel_job", "withdraw_job"]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`state` is the job's from now on: `cancelled`, `done`, or `unknown`."""

    state: str
    withdrawn: int = 0
    in_flight: int = 0


def cancel_job(client: redis.Redis, fleet: str, job_id: str, *, declare_flags: bool = True) -> Cancelled:
    """Mark the job, so that nothing more of it is accepted, and take out what no worker holds.

    A request in flight that fails or is handed back later is ready again; who runs the job withdraws it then, or
    whoever calls `withdraw_job`. Raises redis.RedisError.
    """
    mark = Script(client, load_source((LUA_PACKAGE, "cancel.lua"), declare_flags=declare_flags))
    state = mark([redis_keys.job(fleet, job_id)], []).decode()
    if state != "cancelled":
        return Cancelled(state)
    client.srem(redis_keys.paused(fleet), job_id)
    withdrawn, in_flight = withdraw_job(client, fleet, job_id, declare_flags=declare_flags)
    return Cancelled(state, withdrawn, in_flight)


def withdraw_job(client: redis.Redis, fleet: str, job_id: str, *, declare_flags: bool = True) -> tuple[int, int]:
    """Take a job's requests out that no worker holds, in batches: (how many, how many workers hold)."""
    withdraw = Script(client, load_source(QUEUE_LUA, (LUA_PACKAGE, "withdraw.lua"), declare_flags=declare_flags))
    withdrawn = held = 0
    for queue in queue_names(client, fleet):
        keys = [*queue_key_list(fleet, queue), redis_keys.job(fleet, job_id), QueueKeys(fleet, queue).unwanted]
        for batch in request_keys(client, fleet, queue, job_id):
            found = withdraw(keys, [0, *batch])
            withdrawn += sum(one == 1 for one in found)
            held += sum(one == 0 for one in found)
    return withdrawn, held
