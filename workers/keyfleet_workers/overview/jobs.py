"""How each job stands: how far it is, how fast it goes, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from keyfleet.jobs.listing import job_state, paused_jobs, read_records
from keyfleet.ledger import JobRecord, JobState

__all__ = ["JobOverview", "read_jobs"]


@dataclass(frozen=True, slots=True)
class JobOverview:
    """One job. `left_s` is how long it will take at its present pace; None where that can't be told."""

    record: JobRecord
    state: JobState
    requests_per_s: float | None
    left_s: float | None

    @property
    def ended(self) -> int:
        """Requests that have succeeded or failed."""
        return self.record.succeeded + self.record.failed

    @property
    def total(self) -> int:
        """How many requests it has, as far as is known: at least those that were accepted."""
        return max(self.record.total, self.record.accepted)

    @property
    def share(self) -> float:
        """How much of it is done, from 0.0 to 1.0."""
        return min(1.0, self.ended / self.total) if self.total else float(self.state is JobState.DONE)


def read_jobs(client: redis.Redis, fleet: str, now_ms: int) -> list[JobOverview]:
    """All jobs, the one begun last first. Raises redis.RedisError."""
    paused = paused_jobs(client, fleet)
    jobs = [_job(record, now_ms, is_paused=record.job_id in paused) for record in read_records(client, fleet)]
    return sorted(jobs, key=lambda job: -job.record.begun_ms)


def _job(record: JobRecord, now_ms: int, *, is_paused: bool) -> JobOverview:
    state = job_state(record, now_ms, is_paused=is_paused)
    pace = record.requests_per_s(now_ms) if state is JobState.RUNNING else None
    job = JobOverview(record, state, pace, None)
    left = job.total - job.ended
    left_s = left / pace if pace and record.total else None
    return JobOverview(record, state, pace, left_s)
