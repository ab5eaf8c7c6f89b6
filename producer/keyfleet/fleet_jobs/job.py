"""A job that a program has submitted: its results as they come, its counts, and what can be done with it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from pathlib import Path

from keyfleet.errors import BrokerUnavailable, FleetClosed, InputError
from keyfleet.fleet_jobs import job_async
from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.fleet_jobs.following import JobFiling, Standing, is_in_use, open_retry_of
from keyfleet.fleet_jobs.owner import JobOwner
from keyfleet.fleet_jobs.passage import Passage
from keyfleet.fleet_jobs.waiting import check_loop, display, followed_snapshot, say_ended
from keyfleet.results import Result

__all__ = ["Job"]

LOOK_S = 0.05
"""Interval of looking for new results where there are none (s)."""

SHOW_S = 0.1
"""Interval of looking how a job stands that somebody waits for (s)."""


class Job:
    """A job of `Fleet.submit`, or one that `Fleet.job` has found.

        job = fleet.submit(rows, name="nightly")
        print(job.wait(progress=True).failed)
        for result in job:
            save(result.id, result.body) if result.ok else log(result.id, result.error)

    Iterating gives every result from the first one on, each time anew, and follows the job until its end. In an event
    loop: `async for result in job`, `counts = await job`. For any thread.
    """

    def __init__(self, owner: JobOwner, folder: JobFolder, spec: JobSpec) -> None:
        self._owner = owner
        self._folder = folder
        self._spec = spec
        self._filing = JobFiling(folder)

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"Job(id={self.id!r}{name})"

    @property
    def id(self) -> str:
        """By which `Fleet.job` finds it, also from another process; a unique beginning is enough."""
        return self._spec.job_id

    @property
    def name(self) -> str:
        """The name that it was given; may be empty."""
        return self._spec.name

    @property
    def results_path(self) -> Path:
        """The file of its results, one JSON object a line; whole when the job is done."""
        return self._folder.results

    @property
    def counts(self) -> JobCounts:
        """How many requests there are so far, and how they ended."""
        return self._filing.counts(self._owner.runner(self.id))

    @property
    def is_done(self) -> bool:
        """Whether every request has its result; also where the job was cancelled."""
        return self._filing.standing(self._owner.runner(self.id)) is Standing.DONE

    def __iter__(self) -> Iterator[Result]:
        """Every result, in input order if the job is `ordered`, else as they came.

        What the caller's iterable has raised is raised at the end; so is FleetClosed where the Fleet was closed before
        the job was done, and JobStopped. A job that nobody runs gives what is there: `wait` goes on with it.
        """
        self._check_loop()
        passage = self.passage()
        pause = threading.Event()
        try:
            while (results := passage.look()) is not None:
                yield from results
                if not results:
                    pause.wait(LOOK_S)
        finally:
            passage.close()

    def __aiter__(self) -> AsyncIterator[Result]:
        return job_async.results(self)

    def __await__(self) -> Generator[None, None, JobCounts]:
        return job_async.ended(self).__await__()

    def wait(self, progress: bool = False, timeout_s: float | None = None) -> JobCounts:
        """Wait until every request has its result; returns the counts.

        A job that nobody runs, since its program has ended, is gone on with: what was read of its iterable is finished,
        and nothing is sent again that has a result. `progress` shows the bar of `keyfleet run` on a terminal and in a
        notebook, and a line now and then elsewhere. Raises TimeoutError after `timeout_s` seconds (the job goes on),
        what the caller's iterable has raised, FleetClosed where the Fleet is closed meanwhile, and JobStopped.
        """
        self._check_loop()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        pause = threading.Event()
        with display(progress) as shown:
            while not self.go_on():
                runner = self._owner.runner(self.id)
                if progress:
                    snapshot = runner.snapshot if runner is not None and not runner.is_over else None
                    shown.show(snapshot or followed_snapshot(self.counts, self._owner.status()))
                left_s = SHOW_S if until_s is None else min(SHOW_S, until_s - time.monotonic())
                if left_s <= 0:
                    raise TimeoutError(f"job {self.id[:8]} was not done within {timeout_s:g} s; it goes on")
                if runner is None or runner.is_over:
                    pause.wait(left_s)
                else:
                    runner.wait(left_s)
        counts = self.counts
        if progress:
            say_ended(self.name or self.id[:8], counts)
        return counts

    def cancel(self) -> None:
        """Send nothing more: calls in flight finish, and what was not sent ends as JobCancelled. Doesn't wait.

        It stands from the moment this returns: who goes on with a job that was not over by then only collects what was
        sent. Of a job that is done it only ends a retry, which can be gone on with later. Raises InputError where it
        can't be remembered, and BrokerUnavailable where a retry that another process runs, or has left, can't be told.
        """
        runner = self._owner.runner(self.id)
        standing = self._filing.standing(runner)
        if runner is not None and not runner.is_over:
            runner.cancel()
            if runner.task.is_retry:
                return
        if standing is Standing.DONE:
            retry = open_retry_of(self._folder, self._spec_now())
            if retry is not None:
                self._owner.cancel_elsewhere(retry)
            return
        self._folder.remember_cancel()
        if standing is Standing.IDLE:
            self._owner.resume(self._folder)
            runner = self._owner.runner(self.id)
        if runner is not None and not runner.is_over:
            runner.cancel()
        elif standing is Standing.ELSEWHERE:
            with contextlib.suppress(BrokerUnavailable):  # who runs it looks into its directory, too
                self._owner.cancel_elsewhere(self._spec_now())

    def _spec_now(self) -> JobSpec:
        """Another fleet may have taken it over since it was found."""
        return self._folder.spec() if self._folder.is_begun else self._spec

    def retry_failed(self, reasons: str | Sequence[str] = ()) -> Job:
        """Send requests that failed once more, and return at once; `wait` for the end. Returns the job itself.

        `reasons` restricts it to those that failed for one of them: status and code as in `400 bad_request`, or one of
        the two. New results take the places of the old when all are there. Raises InputError while the job isn't done,
        and for reasons that no request has failed for.
        """
        if not self.is_done:
            raise InputError(f"job {self.id[:8]} isn't done; wait for it before its failed requests are sent again")
        self._owner.retry(self._folder, (reasons,) if isinstance(reasons, str) else tuple(reasons))
        return self

    def delete(self) -> None:
        """Remove the job's files, with its prompts and results, and what the broker has of it. Raises InputError while
        somebody runs it or a retry of it, and BrokerUnavailable where requests may wait in a broker that is away."""
        standing = self._filing.standing(self._owner.runner(self.id))
        if standing in (Standing.HERE, Standing.ELSEWHERE) or is_in_use(self._folder):
            raise InputError(f"job {self.id[:8]} is running; cancel it, and wait for its end, before it is deleted")
        spec = self._spec_now()
        retry = open_retry_of(self._folder, spec)
        if retry is not None:
            self._owner.forget(retry)
        try:
            self._owner.forget(spec)
        except (BrokerUnavailable, FleetClosed):
            if standing is not Standing.DONE:  # the record of a done job goes by itself
                raise
        self._folder.remove()

    def go_on(self) -> bool:
        """Have somebody run the job unless it is done, and tell whether that is so; raises what `wait` raises."""
        runner = self._owner.runner(self.id)
        standing = self._filing.standing(runner)
        if standing in (Standing.HERE, Standing.ELSEWHERE):
            return False
        if runner is not None:
            runner.raise_error_once()
        if standing is Standing.DONE:
            return True
        self._owner.resume(self._folder)
        return False

    def _check_loop(self) -> None:
        runner = self._owner.runner(self.id)
        check_loop(runner.task.intake if runner is not None else None)

    def passage(self) -> Passage:
        """A pass over the results, for who waits between them in a way of his own."""
        return Passage(self._owner, self._folder, self.id, self._filing)
