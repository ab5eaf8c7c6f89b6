"""What jobs of programs leave behind, and what they do where a caller, a loop or a thread is gone."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keyfleet.errors import FleetClosed, JobNotFound
from keyfleet.fleet_jobs import JobChoices
from keyfleet.fleet_jobs import runner as runner_module
from keyfleet.fleet_jobs.tasks import task_of_new
from support.events import wait_until
from support.jobs_case import JobsCase, body, jobs_case

__all__ = ["jobs_case"]


class Rows(list[Any]):
    """A list that can be asked whether it is still alive."""


def test_a_job_whose_submission_was_cancelled_is_taken_back(
    jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_begin, has_begun = threading.Event(), threading.Event(), threading.Event()

    def slowly(*given: Any) -> Any:
        began.set()
        may_begin.wait(30)
        task = task_of_new(*given)
        has_begun.set()
        return task

    monkeypatch.setattr("keyfleet.fleet_jobs.desk.task_of_new", slowly)

    async def cancel() -> None:
        task = asyncio.ensure_future(jobs_case.jobs.asubmit([body()] * 3, JobChoices()))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_begin.set()
        await asyncio.to_thread(has_begun.wait)
        folder = jobs_case.state_dir / "jobs"
        await asyncio.to_thread(wait_until, lambda: not list(folder.iterdir()), "nothing of it is left")

    asyncio.run(cancel())
    assert jobs_case.open_ids() == []


def test_a_job_that_is_done_keeps_neither_its_rows_nor_its_threads(jobs_case: JobsCase) -> None:
    rows = Rows([body("p")])
    is_alive = weakref.ref(rows)
    job = jobs_case.jobs.submit(rows, JobChoices())
    del rows
    jobs_case.wait_for_open(job, 1)
    jobs_case.answer_all(job.id)
    job.wait(timeout_s=30)
    wait_until(lambda: jobs_case.jobs.runner(job.id) is None, "its runner is forgotten")
    gc.collect()
    assert is_alive() is None
    assert [result.ok for result in job] == [True]
    assert job.counts.succeeded == 1


def test_a_generator_that_is_not_read_to_its_end_is_closed(jobs_case: JobsCase) -> None:
    closed = threading.Event()

    def rows() -> Iterator[Any]:
        try:
            for number in range(10**9):
                yield body(f"row {number}")
        finally:
            closed.set()

    job = jobs_case.jobs.submit(rows(), JobChoices(window=4))
    wait_until(lambda: len(jobs_case.open_ids(job.id)) >= 4, "it is fed")
    job.cancel()
    assert closed.wait(30)


def test_looping_over_a_deleted_job_ends_with_an_error(jobs_case: JobsCase) -> None:
    job = jobs_case.submit(1)
    jobs_case.wait_for_open(job, 1)
    jobs_case.answer_all(job.id)
    job.wait(timeout_s=30)
    begun = iter(job)
    wait_until(lambda: jobs_case.jobs.runner(job.id) is None, "its runner is forgotten")
    job.delete()
    for results in (begun, iter(job)):
        with pytest.raises(FleetClosed, match="its results are gone"):
            list(results)


def test_an_event_loop_that_was_closed_ends_the_job_with_an_error(jobs_case: JobsCase) -> None:
    loop = asyncio.new_event_loop()

    async def endless() -> AsyncIterator[Any]:
        yield body("first")
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(loop.run_forever)
        job = asyncio.run_coroutine_threadsafe(jobs_case.jobs.asubmit(endless(), JobChoices()), loop).result(30)
        jobs_case.wait_for_open(job, 1)
        loop.call_soon_threadsafe(loop.stop)
        running.result(30)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    jobs_case.answer_all(job.id)
    with pytest.raises(RuntimeError, match="the event loop that the requests come from was closed"):
        job.wait(timeout_s=30)


def test_waiting_in_the_very_loop_that_the_rows_come_from_is_refused(jobs_case: JobsCase) -> None:
    async def rows() -> AsyncIterator[Any]:
        yield body("one")
        await asyncio.Event().wait()

    async def program() -> None:
        job = await jobs_case.jobs.asubmit(rows(), JobChoices())
        with pytest.raises(RuntimeError, match=r"would never end; `await job`"):
            job.wait(timeout_s=30)
        with pytest.raises(RuntimeError, match=r"would never end"):
            next(iter(job))
        job.cancel()
        await job

    asyncio.run(program())


def test_a_job_whose_thread_can_not_start_leaves_nothing_and_closing_ends(
    jobs_case: JobsCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(runner: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(runner_module.JobRunner, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            jobs_case.submit(1)
    assert list((jobs_case.state_dir / "jobs").iterdir()) == []
    jobs_case.jobs.close()
    with pytest.raises(FleetClosed):
        jobs_case.submit(1)
    assert list((jobs_case.state_dir / "jobs").iterdir()) == []


@pytest.mark.parametrize("name", ["submitted", "map", ""])
def test_what_stands_for_no_name_names_no_job(jobs_case: JobsCase, name: str) -> None:
    job = jobs_case.submit(1)
    jobs_case.wait_for_open(job, 1)
    with pytest.raises(JobNotFound):
        jobs_case.jobs.job(name)
