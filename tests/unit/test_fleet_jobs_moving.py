"""Jobs of programs that move between fleets and servers: nothing is sent twice, nothing that was paid for is lost."""

from __future__ import annotations

from typing import Any

import pytest

from keyfleet import redis_keys
from keyfleet.errors import ConfigurationError
from keyfleet.fleet_jobs import Job
from keyfleet.fleet_jobs.folder import JobFolder
from keyfleet.fleet_jobs.same_server import address_of
from keyfleet.ledger import JobLedger, JobOptions
from support.events import wait_until
from support.jobs_case import FLEET, QUEUE, JobsCase, a_request, jobs_case
from support.stand_in import StandIn

__all__ = ["jobs_case"]

ELSEWHERE = "redis://other:6379/0"


def killed_with(case: JobsCase, job_id: str, *numbers: int) -> None:
    """As if the program had been killed while the ledger had these requests."""
    case.jobs.close()
    ledger = JobLedger(case.client, FLEET, job_id, JobOptions(), declare_flags=False)
    ledger.open(begins=True)
    ledger.accept(QUEUE, [a_request(number) for number in numbers])


def failed_job(case: JobsCase) -> Job:
    job = case.submit(2)
    case.wait_for_open(job, 2)
    case.fail(job.id, "1")
    case.fail(job.id, "2")
    job.wait(timeout_s=30)
    return job


def test_a_retry_is_taken_over_from_a_fleet_of_another_name(jobs_case: JobsCase) -> None:
    job = failed_job(jobs_case)
    job.retry_failed()
    wait_until(lambda: jobs_case.open_ids() == ["1", "2"], "both are accepted")
    retry_id = jobs_case.job_of_open()
    killed_with(jobs_case, retry_id, 1, 2)
    jobs_case.answer(retry_id, ["1"])  # paid for, and not collected
    again = jobs_case.begin_again("other").job(job.id)
    again.retry_failed()
    wait_until(lambda: jobs_case.open_ids(fleet="other"), "the rest is accepted")
    assert (jobs_case.open_ids(fleet="other"), jobs_case.open_ids()) == (["2"], [])
    assert not jobs_case.client.exists(redis_keys.job(FLEET, retry_id))
    jobs_case.jobs.close()
    last = jobs_case.begin_again().job(job.id)  # back, where nothing of it is left
    last.retry_failed()
    wait_until(lambda: jobs_case.open_ids() == ["2"], "the rest is accepted there")
    assert jobs_case.open_ids(fleet="other") == []
    jobs_case.answer(retry_id, ["2"])
    assert last.wait(timeout_s=30).succeeded == 2


def test_a_takeover_that_is_interrupted_sends_nothing(jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    killed_with(jobs_case, job.id, 1, 2)
    jobs_case.hold(job.id, "2")
    again = jobs_case.begin_again("other").job(job.id)
    assert not again.go_on()
    wait_until(lambda: jobs_case.open_ids() == ["2"], "what waits there is taken back")
    given: list[Any] = []
    monkeypatch.setattr(JobLedger, "accept", lambda ledger, queue, requests, **more: given.extend(requests))
    monkeypatch.setattr(JobLedger, "open", lambda ledger, **more: given.append("opened"))
    jobs_case.jobs.close()
    assert given == []
    assert JobFolder(jobs_case.state_dir / "jobs" / job.id).spec().fleet == FLEET


def test_a_job_is_not_gone_on_with_on_another_broker(jobs_case: JobsCase, stand_in: StandIn) -> None:
    job = jobs_case.submit(2)
    jobs_case.wait_for_open(job, 2)
    killed_with(jobs_case, job.id, 1, 2)
    there = stand_in.client()
    again = jobs_case.begin_again(url=ELSEWHERE, client=there).job(job.id)
    with pytest.raises(ConfigurationError, match=f"job {job.id[:8]} was begun on the broker at 127.0.0.1:1/0; go on"):
        again.wait(timeout_s=30)
    assert not there.exists(redis_keys.job(FLEET, job.id))


def test_a_broker_is_known_again_under_another_address(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(2)
    jobs_case.wait_for_open(job, 2)
    killed_with(jobs_case, job.id, 1, 2)
    again = jobs_case.begin_again(url=ELSEWHERE).job(job.id)
    assert not again.go_on()
    jobs_case.answer_all(job.id)
    assert again.wait(timeout_s=30).succeeded == 2
    assert JobFolder(jobs_case.state_dir / "jobs" / job.id).spec().server == "other:6379/0"


def test_a_broker_that_has_lost_everything_is_known_again_by_its_address(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(2)
    jobs_case.wait_for_open(job, 2)
    jobs_case.jobs.close()
    jobs_case.client.flushall()
    again = jobs_case.begin_again().job(job.id)
    assert not again.go_on()
    jobs_case.wait_for_open(again, 2)
    jobs_case.answer_all(job.id)
    assert again.wait(timeout_s=30).succeeded == 2


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:secret@host", "host:6379/0"),
        ("rediss://host:1234/3", "host:1234/3"),
        ("unix://:secret@/run/redis.sock?db=2", "/run/redis.sock/2"),
    ],
)
def test_an_address_has_no_secrets(url: str, address: str) -> None:
    assert address_of(url) == address
