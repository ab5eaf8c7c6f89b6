"""Retries that another program runs, or has left behind, are minded by whoever cancels, deletes or reads their job."""

from __future__ import annotations

import pytest

from keyfleet import redis_keys
from keyfleet.batch import merge
from keyfleet.batch.job_paths import JobPaths
from keyfleet.batch.journal import Journal
from keyfleet.errors import InputError, JobNotFound
from keyfleet.fleet_jobs import Job
from keyfleet.ledger import JobLedger, JobOptions
from support.events import wait_until
from support.jobs_case import FLEET, QUEUE, JobsCase, a_request, jobs_case

__all__ = ["jobs_case"]


def job_in_retry(case: JobsCase) -> tuple[Job, str]:
    """A job of three requests, two of which are sent again; and the retry's id."""
    job = case.submit(3)
    case.wait_for_open(job, 3)
    case.fail(job.id, "1")
    case.fail(job.id, "2")
    case.answer(job.id, ["3"])
    job.wait(timeout_s=30)
    job.retry_failed()
    wait_until(lambda: case.open_ids() == ["1", "2"], "both are accepted")
    return job, case.job_of_open()


def kill_retry(case: JobsCase, retry_id: str) -> None:
    """As if the program had been killed while the ledger had both requests."""
    case.jobs.close()
    ledger = JobLedger(case.client, FLEET, retry_id, JobOptions(), declare_flags=False)
    ledger.open(begins=True)
    ledger.accept(QUEUE, [a_request(1), a_request(2)])


def test_a_job_is_not_deleted_while_another_program_retries_it(jobs_case: JobsCase) -> None:
    job, retry_id = job_in_retry(jobs_case)
    with pytest.raises(InputError, match="is running"):
        jobs_case.begin_again().job(job.id).delete()
    jobs_case.answer(retry_id, ["1", "2"])
    assert job.wait(timeout_s=30).succeeded == 3


def test_a_job_is_deleted_with_the_retry_that_a_killed_program_has_left(jobs_case: JobsCase) -> None:
    job, retry_id = job_in_retry(jobs_case)
    kill_retry(jobs_case, retry_id)
    jobs_case.begin_again().job(job.id).delete()
    assert jobs_case.open_ids() == []
    assert not jobs_case.client.exists(redis_keys.job(FLEET, job.id), redis_keys.job(FLEET, retry_id))
    with pytest.raises(JobNotFound):
        jobs_case.jobs.job(job.id)


def test_cancelling_takes_back_what_waits_of_a_retry_that_a_killed_program_has_left(jobs_case: JobsCase) -> None:
    job, retry_id = job_in_retry(jobs_case)
    kill_retry(jobs_case, retry_id)
    jobs_case.begin_again().job(job.id).cancel()
    assert jobs_case.open_ids() == []


def test_a_retry_can_be_cancelled_by_another_program(jobs_case: JobsCase) -> None:
    job, _ = job_in_retry(jobs_case)
    jobs_case.begin_again().job(job.id).cancel()
    counts = job.wait(timeout_s=30)
    assert (counts.succeeded, counts.failed, jobs_case.open_ids()) == (1, 2, [])


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_kill_while_new_results_take_the_places_of_the_old_leaves_a_job_to_go_on_with(
    jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    def kill(paths: JobPaths, journal: Journal) -> None:
        if renamed:
            paths.merged().output.replace(paths.output)
        raise OSError("killed")

    job, retry_id = job_in_retry(jobs_case)
    with monkeypatch.context() as patch:
        patch.setattr(merge, "complete", kill)
        jobs_case.answer(retry_id, ["1", "2"])
        with pytest.raises(OSError, match="killed"):
            job.wait(timeout_s=30)
    again = jobs_case.begin_again().job(job.id)
    assert not again.is_done
    assert [result.ok for result in again] == [True, True, True]
    assert again.wait(timeout_s=30).succeeded == 3
    assert jobs_case.jobs.job(job.id).is_done
    assert [result.ok for result in again] == [True, True, True]
    assert len(again.results_path.read_bytes().splitlines()) == 3
