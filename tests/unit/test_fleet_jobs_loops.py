"""Loops over results, those of event loops too, and jobs that lie elsewhere, on a stand-in server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import pytest

from keyfleet import redis_keys
from keyfleet.errors import FleetClosed, InputError, JobNotFound
from keyfleet.fleet_jobs import Job, JobChoices
from keyfleet.fleet_jobs.remote_job import RemoteJob
from keyfleet.ledger import JobFacts, JobLedger, JobOptions
from keyfleet.results import Result
from support.events import wait_until
from support.jobs_case import FLEET, QUEUE, JobsCase, a_request, body, jobs_case

__all__ = ["jobs_case"]


def test_a_job_of_another_host_can_be_counted_waited_for_and_cancelled(jobs_case: JobsCase) -> None:
    facts = JobFacts("far", "/there/jobs/cc33/input.jsonl", "/there/jobs/cc33/results.jsonl", "far-host", "fleet")
    ledger = JobLedger(jobs_case.client, FLEET, "cc33", JobOptions(), facts=facts, declare_flags=False)
    ledger.open(begins=True)
    ledger.say_alive()
    ledger.accept(QUEUE, [a_request(1), a_request(2)])
    job = jobs_case.jobs.job("far")
    assert isinstance(job, RemoteJob)
    assert (job.id, job.name, job.counts.total, job.is_done) == ("cc33", "far", 2, False)
    for act in (job.__iter__, job.__aiter__, job.retry_failed, job.delete):
        with pytest.raises(InputError, match=r"on far-host \(/there/jobs/cc33\)"):
            act()
    with pytest.raises(TimeoutError):
        job.wait(timeout_s=0.01)
    jobs_case.answer("cc33", ["1"])
    job.cancel()
    assert jobs_case.open_ids() == []
    assert job.wait(timeout_s=1).succeeded == 1


def test_a_name_that_means_no_job_is_said_so(jobs_case: JobsCase) -> None:
    with pytest.raises(JobNotFound, match="nothing: there is no such job"):
        jobs_case.jobs.job("nothing")


def test_a_map_that_is_left_keeps_nothing(jobs_case: JobsCase) -> None:
    results = jobs_case.jobs.map((body(str(number)) for number in range(5)), JobChoices())
    assert not (jobs_case.state_dir / "jobs").exists()  # nothing begins before the first result is asked for

    def answer() -> None:
        wait_until(lambda: len(jobs_case.open_ids()) == 5, "it is fed")
        jobs_case.answer(jobs_case.job_of_open(), ["3"])

    thread = threading.Thread(target=answer)
    thread.start()
    assert next(results).index == 2
    thread.join()
    results.close()
    wait_until(lambda: not list((jobs_case.state_dir / "jobs").iterdir()), "its directory is gone")
    assert jobs_case.open_ids() == []
    assert not jobs_case.jobs._runners


def test_what_was_dropped_as_nobodys_is_fed_again_while_its_loop_goes_on(jobs_case: JobsCase) -> None:
    results = jobs_case.jobs.map([body("a"), body("b")], JobChoices(ordered=True))
    heard: list[bool] = []

    def work() -> None:
        wait_until(lambda: len(jobs_case.open_ids()) == 2, "it is fed")
        job_id = jobs_case.job_of_open()
        wait_until(lambda: jobs_case.client.zscore(redis_keys.callers(FLEET), job_id), "its process is heard")
        heard.append(True)
        jobs_case.drop(job_id, "1")
        wait_until(lambda: len(jobs_case.open_ids()) == 2, "it is fed again")
        jobs_case.answer_all(job_id)

    thread = threading.Thread(target=work)
    thread.start()
    assert [(result.index, result.ok) for result in results] == [(0, True), (1, True)]
    thread.join()
    assert heard


def test_a_loop_whose_fleet_is_closed_never_looks_as_if_it_had_ended_well(jobs_case: JobsCase) -> None:
    results = jobs_case.jobs.map((body(str(number)) for number in range(5)), JobChoices())

    def close() -> None:
        wait_until(lambda: len(jobs_case.open_ids()) == 5, "it is fed")
        jobs_case.jobs.close()

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(FleetClosed):
        list(results)
    thread.join()
    assert not list((jobs_case.state_dir / "jobs").iterdir())
    assert jobs_case.open_ids() == []


def test_an_asynchronous_iterable_that_waits_is_cancelled_with_the_loop_over_its_results(jobs_case: JobsCase) -> None:
    ends: list[str] = []

    async def rows() -> AsyncIterator[Any]:
        yield body("first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def program() -> None:
        results = cast("AsyncGenerator[Result, None]", jobs_case.jobs.amap(rows(), JobChoices()))

        def answer() -> None:
            wait_until(jobs_case.open_ids, "it is fed")
            jobs_case.answer_all(jobs_case.job_of_open())

        answering = asyncio.create_task(asyncio.to_thread(answer))
        assert (await results.__anext__()).ok
        await answering
        await results.aclose()
        await asyncio.to_thread(wait_until, lambda: ends == ["cancelled"], "it waits no more")

    asyncio.run(program())


def test_a_loop_that_stands_still_keeps_nothing_once_its_fleet_is_closed(jobs_case: JobsCase) -> None:
    results = jobs_case.jobs.map((body(str(number)) for number in range(5)), JobChoices())

    def answer() -> None:
        wait_until(lambda: len(jobs_case.open_ids()) == 5, "it is fed")
        jobs_case.answer(jobs_case.job_of_open(), ["1"])

    thread = threading.Thread(target=answer)
    thread.start()
    assert next(results).index == 0
    thread.join()
    jobs_case.jobs.close()
    assert not list((jobs_case.state_dir / "jobs").iterdir())
    with pytest.raises(FleetClosed):
        next(results)


def test_awaiting_a_job_leaves_no_thread_behind_when_its_task_is_cancelled(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(1)

    async def program() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_awaited(job), 0.05)

    asyncio.run(program())  # would not end before a thread that waits for the job
    assert not job.is_done
    jobs_case.answer(job.id, jobs_case.open_ids() or ["1"])


async def _awaited(job: Job) -> Any:
    return await job
