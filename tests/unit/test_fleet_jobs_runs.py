"""Whole jobs of programs on a stand-in server without any worker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, cast

import pytest

from keyfleet import redis_keys
from keyfleet.errors import DeadlineExceeded, FleetClosed, InputError, JobCancelled, JobNotFound, ProviderError
from keyfleet.fleet_jobs import JobChoices, assembly, intake
from keyfleet.fleet_jobs.deadline import Expiry, JobAdmission
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.jobs import cancel_job
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.redis_keys import QueueKeys
from support.events import wait_until
from support.jobs_case import FLEET, QUEUE, JobsCase, a_request, body, jobs_case

__all__ = ["jobs_case"]


def test_a_job_gives_each_request_its_answer_and_ends(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(5, name="nightly", row_id="prompt")
    jobs_case.wait_for_open(job, 5)
    assert jobs_case.record(job.id).facts.name == "nightly"
    assert jobs_case.record(job.id).facts.format == "fleet"
    jobs_case.fail(job.id, "2")
    jobs_case.answer_all(job.id)
    counts = job.wait(timeout_s=30)
    assert (counts.total, counts.succeeded, counts.failed, counts.is_complete) == (5, 4, 1, True)
    results = {result.index: result for result in job}
    assert [results[index].id for index in range(5)] == [f"row {index}" for index in range(5)]
    assert results[0].body == {"n": 1}
    assert isinstance(results[1].error, ProviderError)
    assert jobs_case.record(job.id).mark == "done"
    assert repr(job) == f"Job(id='{job.id}', name='nightly')"


def test_what_is_under_way_is_bounded_by_the_window_and_the_generator_is_read_as_it_empties(
    jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "AHEAD_ROWS", 8)
    monkeypatch.setattr(assembly, "ASIDE_BYTES", 24 * 10)
    pulled: list[int] = []

    def rows() -> Iterator[Any]:
        for number in range(300):
            pulled.append(number)
            yield body(f"row {number}")

    job = jobs_case.jobs.submit(rows(), JobChoices(window=20))
    most = answered = 0
    while not job.is_done:
        wait_until(lambda: jobs_case.open_ids(job.id) or job.is_done, "more is fed")
        under_way = jobs_case.open_ids(job.id)
        most = max(most, len(under_way))
        assert len(pulled) <= answered + 20 + 2 * 10 + 2 * 8 + 256
        answered += len(under_way)
        jobs_case.answer(job.id, under_way)
    assert (most <= 20, answered, job.counts.succeeded) == (True, 300, 300)


def test_a_job_that_can_not_begin_leaves_nothing(jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: JobFolder, spec: JobSpec) -> None:
        raise InputError("no room")

    monkeypatch.setattr(JobFolder, "write_spec", refuse)
    with pytest.raises(InputError, match="no room"):
        jobs_case.submit(1)
    assert not list((jobs_case.state_dir / "jobs").iterdir())


def test_urgent_jobs_and_their_deadline_are_told_to_the_ledger(jobs_case: JobsCase) -> None:
    until = datetime.now(timezone.utc) + timedelta(hours=1)
    job = jobs_case.submit(1, priority="urgent", deadline=until)
    jobs_case.wait_for_open(job, 1)
    keys = QueueKeys(FLEET, QUEUE)
    assert jobs_case.client.zcard(keys.ready_urgent) == 1
    (place,) = cast("list[bytes]", jobs_case.client.hvals(keys.places))
    urgent, _, _, accepted_ms, deadline_ms, _ = place.split()
    assert urgent == b"1"
    assert 3_500_000 < int(deadline_ms) - int(accepted_ms) <= 3_600_000
    jobs_case.answer_all(job.id)
    job.wait(timeout_s=30)


def test_the_deadline_ends_what_no_worker_holds_and_what_is_read_later(
    jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    late_s = [0.0]
    for name, kind in (("JobAdmission", JobAdmission), ("Expiry", Expiry)):
        monkeypatch.setattr(assembly, name, partial(kind, clock=lambda: time.time() + late_s[0]))
    go_on = threading.Event()

    def rows() -> Iterator[Any]:
        yield from (body("a"), body("b"))
        go_on.wait(30)
        yield body("late")

    job = jobs_case.jobs.submit(rows(), JobChoices(deadline=3600, row_id="prompt"))
    jobs_case.wait_for_open(job, 2)
    jobs_case.hold(job.id, "1")
    late_s[0] = 3600.0
    wait_until(lambda: job.counts.expired == 1, "the other has ended")
    go_on.set()
    wait_until(lambda: job.counts.expired == 2, "what came late has ended")
    assert jobs_case.open_ids(job.id) == ["1"]
    jobs_case.answer(job.id, ["1"])
    assert job.wait(timeout_s=30).succeeded == 1
    late = {result.id: result.error for result in job if not result.ok}
    assert set(late) == {"b", "late"}
    assert all(isinstance(error, DeadlineExceeded) and error.attempts == 0 for error in late.values())


def test_cancelling_waits_for_calls_in_flight_and_ends_all_else(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(4, ordered=True)
    jobs_case.wait_for_open(job, 4)
    jobs_case.hold(job.id, "3")
    job.cancel()
    wait_until(lambda: jobs_case.open_ids(job.id) == ["3"], "what waits is taken back")
    assert not job.is_done
    jobs_case.answer(job.id, ["3"])
    counts = job.wait(timeout_s=30)
    assert (counts.succeeded, counts.cancelled, counts.failed) == (1, 3, 3)
    results = list(job)
    assert [(result.index, result.ok) for result in results] == [(0, False), (1, False), (2, True), (3, False)]
    assert isinstance(results[0].error, JobCancelled)
    assert jobs_case.record(job.id).mark == "cancelled"
    job.cancel()  # once more changes nothing
    assert job.wait() == counts


def test_a_job_that_was_cancelled_by_others_ends_as_well(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    cancel_job(jobs_case.client, FLEET, job.id, declare_flags=False)
    assert job.wait(timeout_s=30).cancelled == 3


def test_a_closed_fleet_leaves_jobs_that_another_goes_on_with(
    jobs_case: JobsCase, caplog: pytest.LogCaptureFixture
) -> None:
    job = jobs_case.submit(4)
    jobs_case.wait_for_open(job, 4)
    jobs_case.answer(job.id, ["2"])
    wait_until(lambda: job.counts.succeeded == 1, "one is recorded")
    jobs_case.jobs.close()
    with pytest.raises(FleetClosed, match=f"before job {job.id[:8]} was done"):
        job.wait()
    assert f"job {job.id} was not done when the fleet was closed;" in caplog.text
    assert jobs_case.open_ids() == []
    jobs_case.begin_again()
    again = jobs_case.jobs.job(job.id[:10])
    with caplog.at_level(logging.WARNING):
        assert [result.index for result in again] == [1]
    assert "nobody runs it" in caplog.text
    assert (again.counts.open, again.counts.total, again.is_done) == (3, 4, False)
    with pytest.raises(TimeoutError):
        again.wait(timeout_s=0.01)
    jobs_case.wait_for_open(again, 3)
    assert jobs_case.open_ids() == ["1", "3", "4"]
    jobs_case.answer_all(job.id)
    assert again.wait(timeout_s=30).succeeded == 4
    assert sorted(result.index for result in again) == [0, 1, 2, 3]


def test_a_job_that_nobody_runs_is_cancelled_by_whoever_has_its_files(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    jobs_case.jobs.close()
    again = jobs_case.begin_again().job(job.id)
    again.cancel()
    assert again.wait(timeout_s=30).cancelled == 3


def test_a_job_that_is_deleted_leaves_nothing_that_could_be_sent(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    jobs_case.jobs.close()
    ledger = JobLedger(jobs_case.client, FLEET, job.id, JobOptions(), declare_flags=False)
    ledger.open(begins=True)
    ledger.accept(QUEUE, [a_request(1), a_request(2)])  # as if the program had been killed
    again = jobs_case.begin_again().job(job.id)
    again.delete()
    assert jobs_case.open_ids() == []
    assert not again.results_path.parent.exists()
    with pytest.raises(JobNotFound):
        jobs_case.jobs.job(job.id)


def test_failed_requests_are_sent_again_by_reason(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(3)
    jobs_case.wait_for_open(job, 3)
    with pytest.raises(InputError, match="isn't done"):
        job.retry_failed()
    jobs_case.fail(job.id, "1", "slow")
    jobs_case.fail(job.id, "2", "bad")
    jobs_case.answer(job.id, ["3"])
    job.wait(timeout_s=30)
    job.retry_failed("400 slow")
    wait_until(lambda: jobs_case.open_ids() == ["1"], "that one is accepted")
    retry_id = jobs_case.job_of_open()
    assert retry_id != job.id
    jobs_case.answer(retry_id, ["1"])
    assert job.wait(timeout_s=30).failed == 1
    assert {result.index: result.ok for result in job} == {0: True, 1: False, 2: True}
    assert jobs_case.record(job.id).succeeded == 2


def test_a_job_is_taken_over_from_a_fleet_of_another_name_with_what_that_has_of_it(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(4)
    jobs_case.wait_for_open(job, 4)
    ledger = JobLedger(jobs_case.client, FLEET, job.id, JobOptions(), declare_flags=False)
    jobs_case.jobs.close()
    ledger.open(begins=True)
    ledger.accept(QUEUE, [a_request(number) for number in (1, 2, 3)])  # as if the program had been killed
    jobs_case.answer(job.id, ["1"])
    jobs_case.hold(job.id, "2")
    jobs_case.begin_again("other")
    again = jobs_case.jobs.job(job.id)
    with pytest.raises(TimeoutError):
        again.wait(timeout_s=0.01)
    wait_until(lambda: jobs_case.open_ids() == ["2"], "what waits there is taken back")
    wait_until(lambda: again.counts.succeeded == 1, "what was answered there is taken")
    assert jobs_case.open_ids(fleet="other") == []  # what is in flight there must not be sent again
    jobs_case.answer(job.id, ["2"])
    wait_until(lambda: jobs_case.open_ids(fleet="other") == ["3", "4"], "the rest is accepted")
    assert jobs_case.open_ids() == []
    assert not jobs_case.client.exists(redis_keys.job(FLEET, job.id))
    again.cancel()
    counts = again.wait(timeout_s=30)
    assert (counts.succeeded, counts.cancelled) == (2, 2)
