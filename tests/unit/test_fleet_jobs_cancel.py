"""Cancelled jobs of programs on a stand-in server: what was paid for is kept, and nothing more is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.errors import JobCancelled, JobNotFound
from keyfleet.fleet_jobs import Job, desk
from keyfleet.fleet_jobs.folder import JobFolder
from keyfleet.jobs import Cancelled
from keyfleet.ledger import JobFacts, JobLedger, JobOptions
from keyfleet.running import ending
from support.events import wait_until
from support.jobs_case import FLEET, QUEUE, JobsCase, a_request, jobs_case

__all__ = ["jobs_case"]

A_PROGRAM = JobFacts("nightly", "/i/input.jsonl", "/i/results.jsonl", "elsewhere", "fleet")


class Outage:
    """While `is_on`, the server of a case doesn't answer; `refused` counts what was asked meanwhile."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_on = False
        self.refused = 0
        monkeypatch.setattr(client, "execute_command", self._while_on(client.execute_command))
        monkeypatch.setattr(redis.client.Pipeline, "execute", self._while_on(redis.client.Pipeline.execute))

    def _while_on(self, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if self.is_on:
                self.refused += 1
                raise redis.ConnectionError("away")
            return function(*given, **named)

        return call


@pytest.fixture
def outage(jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    found = Outage(jobs_case.client, monkeypatch)
    yield found
    found.is_on = False


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which requests the ledger is given to be sent."""
    ids: list[str] = []
    accept = JobLedger.accept

    def note(ledger: JobLedger, queue: str, requests: Any, **more: Any) -> list[bool]:
        ids.extend(request.id for request in requests)
        return accept(ledger, queue, requests, **more)

    monkeypatch.setattr(JobLedger, "accept", note)
    return ids


def folder_of(case: JobsCase, job: Job) -> JobFolder:
    return JobFolder(case.state_dir / "jobs" / job.id)


def test_a_cancel_in_an_outage_keeps_what_was_paid_for(jobs_case: JobsCase, outage: Outage) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    jobs_case.hold(job.id, "1")
    outage.is_on = True
    job.cancel()
    wait_until(lambda: outage.refused > 20 * ending.MOST_FAILURES, "the broker was asked many times")
    assert not job.is_done
    outage.is_on = False
    jobs_case.answer(job.id, ["1"])
    counts = job.wait(timeout_s=30)
    assert (counts.succeeded, counts.cancelled) == (1, 2)


def test_a_cancel_that_an_outage_leaves_undone_is_done_by_the_next_program(
    jobs_case: JobsCase, outage: Outage, accepted: list[str]
) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    jobs_case.hold(job.id, "1")
    outage.is_on = True
    job.cancel()
    jobs_case.jobs.close()
    assert not job.is_done
    outage.is_on = False
    jobs_case.answer(job.id, ["1"])
    accepted.clear()
    counts = jobs_case.begin_again().job(job.id).wait(timeout_s=30)
    assert (counts.succeeded, counts.cancelled, accepted) == (1, 2, [])


def test_a_cancel_wins_over_the_closing_of_its_fleet(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    jobs_case.answer(job.id, ["2"])
    wait_until(lambda: job.counts.succeeded == 1, "one is recorded")
    job.cancel()
    jobs_case.jobs.close()
    counts = job.wait()
    assert (counts.succeeded, counts.cancelled) == (1, 2)
    assert {type(result.error) for result in job if not result.ok} == {JobCancelled}


def test_a_cancel_outlives_its_program(jobs_case: JobsCase, accepted: list[str]) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    jobs_case.jobs.close()
    ledger = JobLedger(jobs_case.client, FLEET, job.id, JobOptions(), declare_flags=False)
    ledger.open(begins=True)
    ledger.accept(QUEUE, [a_request(1), a_request(2)])  # as if the program had been killed
    folder_of(jobs_case, job).remember_cancel()  # and had cancelled it just before
    jobs_case.answer(job.id, ["1"])
    accepted.clear()
    counts = jobs_case.begin_again().job(job.id).wait(timeout_s=30)
    assert (counts.succeeded, counts.cancelled, accepted) == (1, 2, [])
    assert jobs_case.open_ids() == []


def test_a_cancel_is_remembered_before_it_returns_and_forgotten_by_a_retry(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(2)
    jobs_case.wait_for_open(job, 2)
    jobs_case.hold(job.id, "1")
    job.cancel()
    assert folder_of(jobs_case, job).is_cancelled
    jobs_case.answer(job.id, ["1"])
    assert job.wait(timeout_s=30).cancelled == 1
    job.retry_failed()
    wait_until(lambda: jobs_case.open_ids() == ["2"], "it is sent after all")
    assert not folder_of(jobs_case, job).is_cancelled
    jobs_case.answer(jobs_case.job_of_open(), ["2"])
    assert job.wait(timeout_s=30).succeeded == 2


def test_a_cancel_reaches_a_job_that_another_fleet_has_taken_over_since_it_was_found(
    jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def note(client: redis.Redis, fleet: str, job_id: str) -> Cancelled:
        told.append(fleet)
        return Cancelled("cancelled")

    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    jobs_case.jobs.close()
    found = jobs_case.begin_again().job(job.id)
    there = jobs_case.begin_again("other").job(job.id)
    assert not there.go_on()
    wait_until(lambda: len(jobs_case.open_ids(fleet="other")) == 3, "it is taken over")
    monkeypatch.setattr(desk, "cancel_job", note)
    found.cancel()
    assert there.wait(timeout_s=30).cancelled == 3
    assert told == ["other"]


def test_a_cancel_reaches_the_program_that_runs_a_job_without_the_broker(jobs_case: JobsCase, outage: Outage) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    other = jobs_case.begin_again().job(job.id)
    outage.is_on = True
    other.cancel()
    outage.is_on = False
    assert job.wait(timeout_s=30).cancelled == 3


def test_cancelling_a_job_of_another_host_that_the_broker_has_forgotten_is_an_error(jobs_case: JobsCase) -> None:
    ledger = JobLedger(jobs_case.client, FLEET, "f" * 32, JobOptions(), facts=A_PROGRAM, declare_flags=False)
    ledger.open(begins=True)
    job = jobs_case.jobs.job("f" * 32)
    job.cancel()
    jobs_case.client.delete(redis_keys.job(FLEET, job.id))
    with pytest.raises(JobNotFound, match="doesn't know it any more"):
        job.cancel()
