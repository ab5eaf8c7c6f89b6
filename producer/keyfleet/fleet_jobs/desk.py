"""The jobs of one Fleet: beginning them, finding them again, and ending what runs when the Fleet is closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from functools import partial
from typing import Protocol, cast

import redis

from keyfleet import redis_keys
from keyfleet.config import Settings
from keyfleet.errors import BrokerUnavailable, FleetClosed
from keyfleet.fleet_jobs.assembly import OpenedFleet, Task
from keyfleet.fleet_jobs.finding import find_folder, find_record
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.fleet_jobs.job import Job
from keyfleet.fleet_jobs.job_async import AsyncRows, results
from keyfleet.fleet_jobs.options import JobChoices, check_requests
from keyfleet.fleet_jobs.remote_job import RemoteJob
from keyfleet.fleet_jobs.runner import JobRunner
from keyfleet.fleet_jobs.sweeping import sweep
from keyfleet.fleet_jobs.tasks import task_of_new, task_of_retry, task_that_goes_on
from keyfleet.jobs import cancel_job, purge_job
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import JobRecord
from keyfleet.results import Result
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.snapshot import End

__all__ = ["FleetJobs", "JobsFleet"]

logger = logging.getLogger(__name__)


SWEEP_S = 3600.0
"""Interval of removing what old jobs have left, in a process that lives for long (s)."""

END_S = 5.0
"""How long the end of `map` waits until nothing of its job is left (s)."""


class JobsFleet(OpenedFleet, Protocol):
    """What jobs need of the Fleet that is open."""

    def status(self) -> FleetStatus:
        """How the workers stand."""
        ...


class FleetJobs:
    """For any thread. `open` gives the Fleet that is open, and raises what opening it does."""

    def __init__(self, open: Callable[[], JobsFleet]) -> None:
        self._open = open
        self._lock = threading.Lock()
        self._runners: dict[str, JobRunner] = {}
        self._client: redis.Redis | None = None
        self._swept_s = float("-inf")
        self._opening = threading.Lock()  # apart from the other, which event loops wait for too
        self._is_closed = False

    def submit(self, requests: Iterable[object], choices: JobChoices) -> Job:
        """Begin a job. Raises ConfigurationError, InvalidRequest, InputError, BrokerUnavailable and FleetClosed."""
        check_requests(requests)
        return self._begin(requests, choices, is_ephemeral=False)

    async def asubmit(self, requests: Iterable[object] | AsyncIterable[object], choices: JobChoices) -> Job:
        """The same for an event loop, also of an asynchronous iterable, which is read in that loop."""
        check_requests(requests, takes_async=True)
        return await self._abegin(requests, choices, is_ephemeral=False)

    def map(self, requests: Iterable[object], choices: JobChoices) -> Generator[Result, None, None]:
        """The results of a job that begins with the first of them and goes with the last, or with the generator."""
        check_requests(requests)
        choices.spec()
        return self._mapped(requests, choices)

    def amap(self, requests: Iterable[object] | AsyncIterable[object], choices: JobChoices) -> AsyncIterator[Result]:
        """The same for an event loop."""
        check_requests(requests, takes_async=True)
        choices.spec()
        return self._amapped(requests, choices)

    def job(self, name: str) -> Job:
        """A job by its id, a unique beginning of it, or its name. Raises JobNotFound."""
        settings = self._opened().backend.settings
        found = find_folder(settings.state_dir, name)
        if found is not None:
            return Job(self, *found)
        client = self._own_client()
        try:
            record = find_record(list(read_records(client, settings.fleet)), name)
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker doesn't answer ({type(error).__name__})") from None
        return RemoteJob(self, client, record)

    def close(self) -> None:
        """End what runs as Ctrl-C ends `keyfleet run`: calls in flight finish, and the jobs can be gone on with.

        A KeyboardInterrupt meanwhile ends them at once.
        """
        with self._lock:
            self._is_closed = True
            runners = [runner for runner in self._runners.values() if not runner.is_over]
        try:
            for runner in runners:
                if runner.task.spec.is_ephemeral:
                    runner.discard()
                else:
                    runner.interrupt()
            for runner in runners:
                runner.wait()
        except KeyboardInterrupt:
            for runner in runners:
                runner.interrupt(at_once=True)
            for runner in runners:
                runner.wait()
            raise
        finally:
            for runner in runners:
                _say_interrupted(runner)
            if self._client is not None:
                self._client.close()

    def runner(self, job_id: str) -> JobRunner | None:
        with self._lock:
            return self._runners.get(job_id)

    def resume(self, folder: JobFolder) -> None:
        fleet = self._opened()
        with self._opening:
            task = task_that_goes_on(fleet, folder)
            if task is not None:
                self._start(task)

    def retry(self, folder: JobFolder, reasons: tuple[str, ...]) -> None:
        fleet = self._opened()
        with self._opening:
            task = task_of_retry(fleet, folder, reasons)
            if task is not None:
                self._start(task)

    def cancel_elsewhere(self, spec: JobSpec) -> bool:
        try:
            return cancel_job(self._own_client(), spec.fleet, spec.job_id).state != "unknown"
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker doesn't answer ({type(error).__name__})") from None

    def forget(self, spec: JobSpec) -> None:
        client = self._own_client()
        try:
            found = cast("dict[bytes, bytes]", client.hgetall(redis_keys.job(spec.fleet, spec.job_id)))
            purge_job(client, JobRecord.of(spec.fleet, spec.job_id, found), force=True)
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker doesn't answer ({type(error).__name__})") from None

    def status(self) -> FleetStatus:
        return self._opened().status()

    def _opened(self) -> JobsFleet:
        opened = self._open()
        with self._lock:
            is_due = time.monotonic() - self._swept_s > SWEEP_S
            if is_due:
                self._swept_s = time.monotonic()
        if is_due:
            settings = opened.backend.settings
            threading.Thread(target=_sweep, args=(settings,), name="keyfleet-sweep", daemon=True).start()
        return opened

    def _own_client(self) -> redis.Redis:
        opened = self._opened()
        with self._lock:
            if self._client is None:
                self._client, _ = opened.backend.connect()
            return self._client

    def _begin(self, requests: Iterable[object], choices: JobChoices, *, is_ephemeral: bool) -> Job:
        choices.spec()  # what is wrong with it is said before anything is started
        fleet = self._opened()
        settings, is_embedded = fleet.backend.settings, fleet.backend.server is not None
        spec = choices.spec(fleet=settings.fleet, is_embedded=is_embedded, is_ephemeral=is_ephemeral)
        task = task_of_new(fleet, spec, requests, choices.row_id)
        try:
            self._start(task)
        except BaseException:
            task.folder.remove()
            raise
        return Job(self, task.folder, spec)

    def _start(self, task: Task) -> None:
        """Raises FleetClosed, and RuntimeError where no thread can be had; then its files are closed."""
        runner = JobRunner(task, on_over=self._forget)
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._runners[task.spec.job_id] = runner
        try:
            if is_closed:
                raise FleetClosed("the fleet was closed")
            runner.start()
        except BaseException:
            with self._lock:
                self._runners.pop(task.spec.job_id, None)
            if task.intake is not None:
                task.intake.stop()
                task.intake.close()
            task.files.close()
            raise

    def _mapped(self, requests: Iterable[object], choices: JobChoices) -> Generator[Result, None, None]:
        job = self._begin(requests, choices, is_ephemeral=True)
        try:
            yield from job
            if (runner := self.runner(job.id)) is not None:
                runner.wait(END_S)
        finally:
            self._discard(job)

    async def _amapped(
        self, requests: Iterable[object] | AsyncIterable[object], choices: JobChoices
    ) -> AsyncIterator[Result]:
        job = await self._abegin(requests, choices, is_ephemeral=True)
        try:
            async with contextlib.aclosing(results(job)) as found:
                async for result in found:
                    yield result
        finally:
            self._discard(job)

    async def _abegin(
        self, requests: Iterable[object] | AsyncIterable[object], choices: JobChoices, *, is_ephemeral: bool
    ) -> Job:
        """Begin a job in a thread. One whose caller is cancelled meanwhile is taken back: nobody has its id."""
        begin = partial(self._begin, _rows(requests), choices, is_ephemeral=is_ephemeral)
        beginning = asyncio.ensure_future(asyncio.to_thread(begin))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(self._discard_begun)
            raise

    def _discard_begun(self, begun: asyncio.Future[Job]) -> None:
        if not begun.cancelled() and begun.exception() is None:
            self._discard(begun.result())

    def _discard(self, job: Job) -> None:
        """Nobody wants a job's results any more. Doesn't wait."""
        runner = self.runner(job.id)
        if runner is not None:
            runner.discard()
            self._forget(runner)

    def _forget(self, runner: JobRunner) -> None:
        """Remember jobs that are over only as long as they have something to say that their files don't."""
        is_told_by_files = runner.error() is None and not runner.task.spec.is_ephemeral
        with self._lock:
            if runner.is_over and (runner.is_unwanted or is_told_by_files):
                self._runners.pop(runner.task.spec.job_id, None)


def _rows(requests: Iterable[object] | AsyncIterable[object]) -> Iterable[object]:
    if isinstance(requests, AsyncIterable):
        return AsyncRows(requests, asyncio.get_running_loop())
    return requests


def _sweep(settings: Settings) -> None:
    try:
        sweep(settings.state_dir, settings)
    except OSError as error:
        logger.warning("%s: what old jobs have left can't be removed: %s", settings.state_dir, error.strerror)


def _say_interrupted(runner: JobRunner) -> None:
    task = runner.task
    if runner.end is not End.INTERRUPTED or task.spec.is_ephemeral:
        return
    end = task.intake.end if task.intake is not None else task.folder.end()
    rest = "" if end is not None and end.is_complete else ", and not all of its iterable was read"
    logger.warning(
        "job %s was not done when the fleet was closed%s; Fleet().job(%r).wait() goes on with it",
        task.spec.job_id,
        rest,
        task.spec.job_id,
    )
