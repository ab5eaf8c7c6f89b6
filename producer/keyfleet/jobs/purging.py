"""Removing jobs: their records, outcomes that nobody collects, and requests that nobody waits for."""

from __future__ import annotations

from enum import Enum
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.jobs.cancelling import withdraw_job
from keyfleet.jobs.fleets import RUN_PREFIX, fleets_with_jobs, forget_fleet
from keyfleet.jobs.listing import queue_names, read_records, request_keys, server_now_ms
from keyfleet.ledger import JobRecord
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list
from keyfleet.scripts import Script, load_source

__all__ = ["Purged", "forget_gone_callers", "purge_abandoned", "purge_abandoned_runs", "purge_job"]

NOTICE_MS = 60_000
"""How long an abandoned job is announced before it is removed (ms): the server may have been away for days, and a
producer that is back with it needs a moment to say that it lives."""


class Purged(Enum):
    """What became of a job that was to be removed."""

    REMOVED = "removed"
    ALIVE = "a producer runs it"
    IN_FLIGHT = "calls are in flight"


class _Broom:
    """The scripts that remove jobs of `fleet`."""

    def __init__(self, client: redis.Redis, fleet: str, *, declare_flags: bool) -> None:
        self._client = client
        self._fleet = fleet

        def script(name: str, *before: tuple[str, str]) -> Script:
            return Script(client, load_source(*before, (LUA_PACKAGE, name), declare_flags=declare_flags))

        self._doom = script("doom.lua")
        self._discard = script("discard.lua", QUEUE_LUA)
        self._remove = script("remove.lua")

    def sweep(self, job_id: str, *, silent_ms: int, notice_ms: int, force: bool = False) -> Purged:
        """Remove a job, if no producer was seen for `silent_ms` and this has been so for `notice_ms`."""
        job = redis_keys.job(self._fleet, job_id)
        if not self._doom([job], [silent_ms, notice_ms]):
            return Purged.ALIVE
        if self.discard_requests(job_id, force=force):
            return Purged.IN_FLIGHT
        keys = [
            redis_keys.jobs(self._fleet),
            job,
            redis_keys.job_failures(self._fleet, job_id),
            redis_keys.job_failure_examples(self._fleet, job_id),
            redis_keys.job_outcomes(self._fleet, job_id),
            redis_keys.job_read(self._fleet, job_id),
        ]
        if not self._remove(keys, [job_id]):
            return Purged.ALIVE
        self._client.srem(redis_keys.paused(self._fleet), job_id)
        return Purged.REMOVED

    def discard_requests(self, job_id: str, *, force: bool = False) -> int:
        """Take out a job's requests that no worker holds, or all with `force`; returns how many are left."""
        left = 0
        for queue in queue_names(self._client, self._fleet):
            keys = queue_key_list(self._fleet, queue)
            for batch in request_keys(self._client, self._fleet, queue, job_id):
                left += self._discard(keys, [int(force), *batch])
        return left


def purge_job(client: redis.Redis, record: JobRecord, *, force: bool = False, declare_flags: bool = True) -> Purged:
    """Remove a job that no producer runs and no worker works on; `force`: whoever does. Raises redis.RedisError."""
    is_over = force or record.left_ms or record.mark == "done"
    broom = _Broom(client, record.fleet, declare_flags=declare_flags)
    purged = broom.sweep(record.job_id, silent_ms=0 if is_over else ALIVE_MS, notice_ms=0, force=force)
    if purged is Purged.REMOVED:
        _forget_run(client, record.fleet)
    return purged


def purge_abandoned(client: redis.Redis, fleet: str, older_than_ms: int, *, declare_flags: bool = True) -> int:
    """Remove jobs that are not done and whose producer was not seen for `older_than_ms`; returns how many.

    They are announced for a minute first, so this is to be called again and again. It also takes out what workers have
    given back of cancelled jobs that nobody runs any more. Raises redis.RedisError.
    """
    broom = _Broom(client, fleet, declare_flags=declare_flags)
    now_ms = server_now_ms(client)
    removed = 0
    for record in read_records(client, fleet):
        if record.mark == "done" or record.is_alive(now_ms):
            continue
        if now_ms - record.seen_ms >= older_than_ms:
            purged = broom.sweep(record.job_id, silent_ms=older_than_ms, notice_ms=NOTICE_MS)
            removed += purged is Purged.REMOVED
        elif record.mark == "cancelled":
            withdraw_job(client, fleet, record.job_id, declare_flags=declare_flags)
    return removed


def forget_gone_callers(client: redis.Redis, fleet: str, *, declare_flags: bool = True) -> int:
    """Take out what the calls of processes that are gone wait for; returns how many processes have been removed whole.

    None of it would be started (take.lua), but it takes room. One that has only been stopped for long may come back,
    so its record stays, with the answers that it hasn't read, until it counts as abandoned; that of one that has said
    that it leaves goes once no worker has a call of it in flight. Raises redis.RedisError.
    """
    broom = _Broom(client, fleet, declare_flags=declare_flags)
    callers, now_ms = redis_keys.callers(fleet), server_now_ms(client)
    removed = 0
    for name in cast("list[bytes]", client.zrangebyscore(callers, "-inf", now_ms - ALIVE_MS)):
        job_id = name.decode(errors="replace")
        left_ms = client.hget(redis_keys.job(fleet, job_id), "left_ms")
        if left_ms is None and client.exists(redis_keys.job(fleet, job_id)):
            broom.discard_requests(job_id)
        elif broom.sweep(job_id, silent_ms=0 if left_ms else ALIVE_MS, notice_ms=0) is Purged.REMOVED:
            removed += cast("int", client.zrem(callers, job_id))
    return removed


def purge_abandoned_runs(client: redis.Redis, older_than_ms: int, *, declare_flags: bool = True) -> int:
    """The same for all runs of the embedded server, which has no workers but those of runs."""
    removed = 0
    for fleet in fleets_with_jobs(client):
        if fleet.startswith(RUN_PREFIX):
            removed += purge_abandoned(client, fleet, older_than_ms, declare_flags=declare_flags)
            _forget_run(client, fleet)
    return removed


def _forget_run(client: redis.Redis, fleet: str) -> None:
    """A run's own fleet goes with its last job."""
    if fleet.startswith(RUN_PREFIX) and not client.exists(redis_keys.jobs(fleet)):
        forget_fleet(client, fleet, keep_jobs=False)
