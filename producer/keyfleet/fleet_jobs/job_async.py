"""Jobs in an event loop: nothing here holds it up, and nothing goes on in a thread once its task was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyfleet.fleet_jobs.counts import JobCounts
    from keyfleet.fleet_jobs.job import Job
    from keyfleet.results import Result

__all__ = ["AsyncRows", "ended", "results"]

LOOK_S = 0.05
"""Interval of looking for new results where there are none (s)."""

LOOP_LOOK_S = 0.5
"""Interval of looking whether the loop that is asked for a row is still there (s)."""

CLOSED_LOOP = "the event loop that the requests come from was closed before all of them were read"

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


class AsyncRows:
    """What an asynchronous iterable gives, for a thread beside its event loop."""

    def __init__(self, requests: AsyncIterable[object], loop: asyncio.AbstractEventLoop) -> None:
        self._rows = requests.__aiter__()
        self._loop = loop
        self._asked: Future[object] | None = None
        self._is_stopped = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the rows come from."""
        return self._loop

    def __iter__(self) -> AsyncRows:
        return self

    def __next__(self) -> object:
        if self._is_stopped:
            raise StopIteration
        asking = self._ask()
        try:
            self._asked = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError:  # the loop is closed
            asking.close()
            raise
        row = self._answer(self._asked)
        if row is _END:
            raise StopIteration
        return row

    def _answer(self, asked: Future[object]) -> object:
        """What the loop answers. One that is closed may have dropped the question."""
        while True:
            try:
                return asked.result(LOOP_LOOK_S)
            except CancelledError:
                if self._is_stopped:
                    return _END
                raise RuntimeError(CLOSED_LOOP) from None
            except (FutureTimeout, TimeoutError):
                if asked.done():  # the iterable's own
                    raise
                if self._loop.is_closed():
                    raise RuntimeError(CLOSED_LOOP) from None

    def stop(self) -> None:
        """Wait for no further row: what the iterable waits for is cancelled. Doesn't wait."""
        self._is_stopped = True
        if self._asked is not None and not self._loop.is_closed():
            self._asked.cancel()

    async def _ask(self) -> object:
        try:
            return await self._rows.__anext__()
        except StopAsyncIteration:
            return _END
