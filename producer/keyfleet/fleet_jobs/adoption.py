"""Taking a job over from the fleet that had it: programs with other keys have another fleet on the embedded server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.batch.formats import row_maker
from keyfleet.batch.job import JobFiles
from keyfleet.batch.retry_failed import RetryJob
from keyfleet.jobs import purge_job, withdraw_job
from keyfleet.ledger import JobLedger, JobOptions, JobRecord
from keyfleet.running.fleet_status import read_fleet_status

__all__ = ["adopt"]

READ_AT_ONCE = 500
"""Outcomes read together."""

LOOK_S = 0.25
"""Interval of looking whether calls in flight there have ended (s)."""


def adopt(
    client: redis.Redis,
    fleet: str,
    files: JobFiles | RetryJob,
    has_to_stop: Callable[[], bool],
    *,
    declare_flags: bool = True,
) -> bool:
    """Collect what `fleet` has of a job, take back what waits there, and wait for what its workers have in flight.

    Nothing of it is left there then, so that nothing is sent twice. False: it had to stop before that. Raises
    redis.RedisError and InputError.
    """
    job_id = files.job_id
    ledger = JobLedger(client, fleet, job_id, JobOptions(), declare_flags=declare_flags)
    pause = threading.Event()
    while not has_to_stop():
        _, in_flight = withdraw_job(client, fleet, job_id, declare_flags=declare_flags)
        has_workers = bool(read_fleet_status(client, fleet).workers)
        _drain(ledger, files)
        if not (in_flight and has_workers):
            break
        pause.wait(LOOK_S)
    else:
        return False
    found = cast("dict[bytes, bytes]", client.hgetall(redis_keys.job(fleet, job_id)))
    purge_job(client, JobRecord.of(fleet, job_id, found), force=True, declare_flags=declare_flags)
    return True


def _drain(ledger: JobLedger, files: JobFiles | RetryJob) -> None:
    make_row = row_maker(files.format, files.row_job_id)
    while found := ledger.outcomes("0", count=READ_AT_ONCE):
        rows = [make_row(outcome) for _, outcome in found if outcome.id.isdecimal()]
        files.writer.write(rows, files.journal.state.fed)
        ledger.trim(found[-1][0])
