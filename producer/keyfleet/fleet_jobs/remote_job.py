"""A job whose files are on another host: what the broker knows of it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, cast

import redis

from keyfleet import redis_keys
from keyfleet.errors import BrokerUnavailable, InputError, JobNotFound
from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.fleet_jobs.job import Job
from keyfleet.fleet_jobs.owner import JobOwner
from keyfleet.fleet_jobs.passage import Passage
from keyfleet.fleet_jobs.waiting import display, followed_snapshot, say_ended
from keyfleet.jobs import server_now_ms
from keyfleet.ledger import JobRecord, JobState, read_failures
from keyfleet.results import Result

__all__ = ["RemoteJob"]

LOOK_S = 0.5
"""Interval of looking how a job stands that somebody waits for (s)."""


class RemoteJob(Job):
    """Its counts can be seen, it can be waited for and cancelled; its results are where it was submitted."""

    def __init__(self, owner: JobOwner, client: redis.Redis, record: JobRecord) -> None:
        spec = JobSpec(record.job_id, record.fleet, record.facts.host, record.begun_ms / 1000, record.facts.name)
        super().__init__(owner, JobFolder(Path(record.facts.output).parent), spec)
        self._client = client

    @property
    def counts(self) -> JobCounts:
        """As the broker has them: requests that were accepted so far."""
        with _answering():
            record = self._record()
            cancelled = expired = 0
            for group in read_failures(self._client, record.fleet, record.job_id):
                cancelled += group.count * (group.reason == "job_cancelled")
                expired += group.count * (group.reason == "deadline_exceeded")
        is_complete = record.mark == "done"
        return JobCounts(record.accepted, record.succeeded, record.failed, cancelled, expired, is_complete)

    @property
    def is_done(self) -> bool:
        with _answering():
            return self._record().mark == "done"

    def go_on(self) -> bool:
        """Whether it is over: nobody can go on with it but a program on its own host."""
        with _answering():
            state = self._record().state(server_now_ms(self._client))
        if state is JobState.INTERRUPTED:
            raise InputError(f"job {self.id[:8]} isn't done, and nobody runs it: go on with it on {self._spec.host}")
        return state in (JobState.DONE, JobState.CANCELLED)

    def wait(self, progress: bool = False, timeout_s: float | None = None) -> JobCounts:
        """Wait until it is over; raises InputError where only a program on its host can go on with it."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        pause = threading.Event()
        with display(progress) as shown:
            while not self.go_on():
                if progress:
                    shown.show(followed_snapshot(self.counts, self._owner.status()))
                left_s = LOOK_S if until_s is None else min(LOOK_S, until_s - time.monotonic())
                if left_s <= 0:
                    raise TimeoutError(f"job {self.id[:8]} was not done within {timeout_s:g} s; it goes on")
                pause.wait(left_s)
        counts = self.counts
        if progress:
            say_ended(self.name or self.id[:8], counts)
        return counts

    def cancel(self) -> None:
        if not self._owner.cancel_elsewhere(self._spec):
            raise self._unknown()

    def __iter__(self) -> Iterator[Result]:
        self._refuse("its results are")

    def __aiter__(self) -> AsyncIterator[Result]:
        self._refuse("its results are")

    def passage(self) -> Passage:
        self._refuse("its results are")

    def retry_failed(self, reasons: str | Sequence[str] = ()) -> Job:
        self._refuse("its requests are")

    def delete(self) -> None:
        self._refuse("its files are")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"job {self.id[:8]}: {what} on {self._spec.host} ({self._folder.path})")

    def _record(self) -> JobRecord:
        fields = cast("dict[bytes, bytes]", self._client.hgetall(redis_keys.job(self._spec.fleet, self.id)))
        if not fields:
            raise self._unknown()
        return JobRecord.of(self._spec.fleet, self.id, fields)

    def _unknown(self) -> JobNotFound:
        return JobNotFound(f"job {self.id[:8]}: the broker doesn't know it any more")


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise BrokerUnavailable(f"the broker doesn't answer ({type(error).__name__})") from None
