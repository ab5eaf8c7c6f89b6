"""Making a call and waiting for its outcome, for threads and for event loops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from keyfleet.calls.book import Call
from keyfleet.calls.desk import CallDesk
from keyfleet.calls.desks import CallDesks
from keyfleet.calls.streamed import StreamedAnswer
from keyfleet.calls.terms import CallTerms
from keyfleet.contract import Outcome
from keyfleet.errors import DeadlineExceeded, FleetClosed
from keyfleet.ledger.pieces import StreamHead

__all__ = ["Caller"]

BEGINNERS = 4
"""Threads that begin calls of asynchronous callers which take long: counting tokens would hold up their event loops."""

WITHDRAWAL_S = 1.0
"""How long a call whose time is over waits to hear whether it was sent (s)."""


class Caller:
    """For any thread and any event loop. `desks` gives the desks, and raises what opening them does."""

    def __init__(self, desks: Callable[[], CallDesks]) -> None:
        self._desks = desks
        self._own: CallDesk | None = None
        """The desk of calls without a job's name, once it is open."""
        self._beginners = ThreadPoolExecutor(BEGINNERS, thread_name_prefix="keyfleet-begin")

    def close(self) -> None:
        """Begin no more calls of event loops."""
        self._own = None
        self._beginners.shutdown(wait=False)

    def outcome(self, endpoint: str, body: bytes, terms: CallTerms) -> Outcome:
        """The outcome of a call. Raises DeadlineExceeded, and what `CallDesk.begin` and opening the desk raise."""
        desk, call = self._begin(endpoint, body, terms)
        _wait(desk, call, call.ended, terms)
        return _outcome_of(call)

    def stream(self, endpoint: str, body: bytes, terms: CallTerms) -> Outcome | StreamedAnswer:
        """The answer as soon as it begins, or the outcome of a call that ends without a beginning; as `outcome`."""
        desk, call = self._begin(endpoint, body, terms, streams=True)
        _wait(desk, call, _beginning_of(call), terms)
        return _streamed(desk, call)

    async def aoutcome(self, endpoint: str, body: bytes, terms: CallTerms) -> Outcome:
        """As `outcome` for an event loop. A call whose task is cancelled is taken back."""
        desk, call = await self._abegin(endpoint, body, terms)
        await _await(desk, call, call.ended, terms)
        return _outcome_of(call)

    async def astream(self, endpoint: str, body: bytes, terms: CallTerms) -> Outcome | StreamedAnswer:
        """As `stream` for an event loop."""
        desk, call = await self._abegin(endpoint, body, terms, streams=True)
        await _await(desk, call, _beginning_of(call), terms)
        return _streamed(desk, call)

    def _begin(self, endpoint: str, body: bytes, terms: CallTerms, *, streams: bool = False) -> tuple[CallDesk, Call]:
        with self._desks().of(terms.job) as desk:
            if not terms.job:
                self._own = desk
            return desk, desk.begin(endpoint, body, terms, streams=streams)

    async def _abegin(
        self, endpoint: str, body: bytes, terms: CallTerms, *, streams: bool = False
    ) -> tuple[CallDesk, Call]:
        """Begin a call; on another thread where that may take long. One that nobody waits for by then is taken back
        once it has begun."""
        own = self._own
        if own is not None and not terms.job and not own.takes_long(body):
            return own, own.begin(endpoint, body, terms, streams=streams)
        try:
            beginning = self._beginners.submit(self._begin, endpoint, body, terms, streams=streams)
        except RuntimeError:
            raise FleetClosed("the fleet was closed") from None
        begun = asyncio.wrap_future(beginning)
        try:
            await asyncio.wait([begun], timeout=terms.left_s)
        except asyncio.CancelledError:
            beginning.add_done_callback(_abandon_begun)
            begun.cancel()
            raise
        if begun.done():
            return begun.result()
        beginning.add_done_callback(_abandon_begun)
        begun.cancel()
        raise DeadlineExceeded("the request could not be begun before its time was over")


def _wait(desk: CallDesk, call: Call, awaited: Future[Any], terms: CallTerms) -> None:
    """Wait as long as the call has time; then, or where waiting is broken off, it is abandoned."""
    try:
        awaited.exception(terms.left_s)
    except (FutureTimeout, TimeoutError):
        desk.abandon(call)
        with contextlib.suppress(FutureTimeout, TimeoutError):
            call.withdrawn.result(WITHDRAWAL_S)
    except BaseException:
        desk.abandon(call)
        raise


async def _await(desk: CallDesk, call: Call, awaited: Future[Any], terms: CallTerms) -> None:
    """As `_wait`. It waits for a future of its own, since cancelling it must not reach the call's."""
    waiting = asyncio.wrap_future(awaited)
    try:
        done, _ = await asyncio.wait([waiting], timeout=terms.left_s)
    except asyncio.CancelledError:
        desk.abandon(call)
        waiting.cancel()
        raise
    if done:
        waiting.exception()  # it is read from the call, and must not count as never retrieved
        return
    waiting.cancel()
    desk.abandon(call)
    await asyncio.wait([asyncio.wrap_future(call.withdrawn)], timeout=WITHDRAWAL_S)


def _abandon_begun(beginning: Future[tuple[CallDesk, Call]]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        desk, call = beginning.result()
        desk.abandon(call)


def _beginning_of(call: Call) -> Future[StreamHead | None]:
    if call.stream is None:
        raise ValueError("the call was not begun as one whose answer comes in pieces")
    return call.stream.begun


def _streamed(desk: CallDesk, call: Call) -> Outcome | StreamedAnswer:
    stream = call.stream
    head = stream.begun.result() if stream is not None and stream.begun.done() else None
    if stream is None or head is None or call.is_abandoned:  # what begins just as its time is over is given up too
        return _outcome_of(call)
    return StreamedAnswer(desk, call, stream, head)


def _outcome_of(call: Call) -> Outcome:
    """The outcome of a call; of one whose time is over, if it came all the same, else DeadlineExceeded is raised."""
    if call.ended.done():
        return call.ended.result()
    was_sent = call.may_be_sent
    what = "could not be started"
    if was_sent:
        what = "was sent, and not answered" if call.withdrawn.done() else "may have been sent, and was not answered"
    raise DeadlineExceeded(f"the request {what} before its time was over", was_sent=was_sent)
