"""Jobs in an event loop: nothing here holds it up, and nothing goes on in a thread once its task was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from keyfleet.fleet_jobs.counts import JobCounts
    from keyfleet.fleet_jobs.job import Job
    from keyfleet.results import Result

__all__ = ["ended", "results", "rows_of"]

T = TypeVar("T")

LOOK_S = 0.05
"""Interval of looking for new results where there are none (s)."""

_END = object()


async def ended(job: Job) -> JobCounts:
    """The counts of a job that is over. Raises what `Job.wait` raises."""
    while not await asyncio.to_thread(job.go_on):
        await asyncio.sleep(LOOK_S)
    return await asyncio.to_thread(lambda: job.counts)


async def results(job: Job) -> AsyncGenerator[Result, None]:
    """The results of a job, as iterating it gives them."""
    passage = job.passage()
    try:
        while True:
            found = await asyncio.to_thread(passage.look)
            if found is None:
                return
            for result in found:
                yield result
            if not found:
                await asyncio.sleep(LOOK_S)
    finally:
        passage.close()


def rows_of(requests: AsyncIterable[T], loop: asyncio.AbstractEventLoop) -> Iterator[T]:
    """What an asynchronous iterable gives, for a thread beside its event loop."""
    rows = requests.__aiter__()

    async def following() -> object:
        try:
            return await rows.__anext__()
        except StopAsyncIteration:
            return _END

    while (row := _result_of(following, loop)) is not _END:
        yield row  # type: ignore[misc]


def _result_of(make: Callable[[], object], loop: asyncio.AbstractEventLoop) -> object:
    coroutine = make()
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()  # type: ignore[arg-type]
    except RuntimeError:
        coroutine.close()  # type: ignore[attr-defined]
        raise
