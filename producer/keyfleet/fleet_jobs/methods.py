"""`Fleet`'s methods for jobs."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable
from datetime import datetime

from keyfleet.calls import Priority
from keyfleet.fleet_jobs.desk import FleetJobs
from keyfleet.fleet_jobs.job import Job
from keyfleet.fleet_jobs.options import JobChoices
from keyfleet.fleet_jobs.rows import RowId
from keyfleet.results import Result

__all__ = ["JobMethods"]


class JobMethods:
    """Jobs of any number of requests. What the arguments of all four ways to begin one mean stands at `submit`."""

    _jobs: FleetJobs

    def submit(
        self,
        requests: Iterable[object],
        *,
        endpoint: str | None = None,
        id: RowId = None,
        name: str | None = None,
        ordered: bool = False,
        window: int | None = None,
        priority: Priority = "bulk",
        deadline: float | datetime | None = None,
        pack: bool = False,
    ) -> Job:
        """Begin a job, which is fed in the background, and return at once.

            job = fleet.submit(rows, endpoint="/v1/embeddings", name="nightly")
            job.wait(progress=True)

        `requests` is any iterable, a generator of a million or an open JSONL file too, of bodies or of lines in
        OpenAI's Batch format (`custom_id`, `url`, `body`); it is read a little ahead of what is under way. Of a request
        that can't be sent the result is an InvalidRequest; the others go on. `endpoint` is for bodies; without it the
        shape tells. `id` names requests in results: a function of the body, or the name of a field; without it a
        `custom_id`, or the index. `name` is one by which `job` finds it. `ordered` gives results in input order.
        `window` is the most requests of one model under way. `priority="urgent"` overtakes other jobs. `deadline`
        (seconds from now, or a time with a time zone) ends what could not be started by then as DeadlineExceeded,
        unpaid. `pack` lets requests that differ in one input share calls, where a provider's limit of requests is what
        holds them up.

        The job's directory, with its requests and results, is kept for 7 days (KEYFLEET_KEEP_JOBS) after its end.
        Raises ConfigurationError, InvalidRequest (`priority`), InputError where it can't be kept, BrokerUnavailable and
        FleetClosed.
        """
        return self._jobs.submit(requests, JobChoices(endpoint, id, name, ordered, window, priority, deadline, pack))

    async def asubmit(
        self,
        requests: Iterable[object] | AsyncIterable[object],
        *,
        endpoint: str | None = None,
        id: RowId = None,
        name: str | None = None,
        ordered: bool = False,
        window: int | None = None,
        priority: Priority = "bulk",
        deadline: float | datetime | None = None,
        pack: bool = False,
    ) -> Job:
        """As `submit`, for an event loop. An asynchronous iterable is read in that loop, any other in a thread."""
        return await self._jobs.asubmit(
            requests, JobChoices(endpoint, id, name, ordered, window, priority, deadline, pack)
        )

    def map(
        self,
        requests: Iterable[object],
        *,
        endpoint: str | None = None,
        id: RowId = None,
        name: str | None = None,
        ordered: bool = False,
        window: int | None = None,
        priority: Priority = "bulk",
        deadline: float | datetime | None = None,
        pack: bool = False,
    ) -> Generator[Result, None, None]:
        """The results of `requests` as they come, or in input order with `ordered`.

            for r in fleet.map(rows, endpoint="/v1/embeddings", id=lambda body: body["input"][:8]):
                save(r.id, r.body) if r.ok else log(r.id, r.error.status, r.error.code)

        It begins with the first result that is asked for. Closing the generator early, as leaving the loop does, takes
        back what was not sent. Nothing of it is kept.
        """
        return self._jobs.map(requests, JobChoices(endpoint, id, name, ordered, window, priority, deadline, pack))

    def amap(
        self,
        requests: Iterable[object] | AsyncIterable[object],
        *,
        endpoint: str | None = None,
        id: RowId = None,
        name: str | None = None,
        ordered: bool = False,
        window: int | None = None,
        priority: Priority = "bulk",
        deadline: float | datetime | None = None,
        pack: bool = False,
    ) -> AsyncIterator[Result]:
        """As `map`, for `async for`. Cancelling the task that iterates takes back what was not sent."""
        return self._jobs.amap(requests, JobChoices(endpoint, id, name, ordered, window, priority, deadline, pack))

    def job(self, name: str) -> Job:
        """A job that this or another program has submitted, by its id, a unique beginning of it, or its name.

            fleet.job("nightly").wait()     # goes on with it, if its program has ended

        Of a job that was submitted on another host, and shares the broker, the counts can be seen and it can be
        cancelled; its results are there. Raises JobNotFound.
        """
        return self._jobs.job(name)
