"""Making a call and waiting for its outcome, for threads and for event loops."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from keyfleet.calls.answer import LONGEST_S, Priority, check_attempts, check_priority, is_duration
from keyfleet.calls.book import Call
from keyfleet.calls.desk import CallDesk
from keyfleet.contract import Outcome
from keyfleet.errors import DeadlineExceeded, FleetClosed, InvalidRequest

__all__ = ["CallTerms", "Caller"]

BEGINNERS = 4
"""Threads that begin calls of asynchronous callers: counting tokens would hold up their event loops."""

WITHDRAWAL_S = 1.0
"""How long a call whose time is over waits to hear whether it was sent (s)."""


@dataclass(frozen=True, slots=True)
class CallTerms:
    """How a call is to be made. `until_s` is the end of its time on the monotonic clock; None: there is none."""

    urgent: bool
    until_s: float | None = None
    max_attempts: int | None = None

    @classmethod
    def of(cls, timeout_s: float | None, priority: Priority, max_attempts: int | None = None) -> CallTerms:
        """From what a caller gives. Raises InvalidRequest."""
        if timeout_s is not None and not is_duration(timeout_s):
            raise InvalidRequest(
                "timeout_s: expected a number of seconds above 0", code="invalid_timeout", field="timeout_s"
            )
        until_s = None if timeout_s is None else time.monotonic() + min(timeout_s, LONGEST_S)
        return cls(check_priority(priority), until_s, check_attempts(max_attempts))

    @property
    def left_s(self) -> float | None:
        """What is left of its time."""
        return None if self.until_s is None else max(0.0, self.until_s - time.monotonic())


class Caller:
    """For any thread and any event loop. `desk` gives the desk, and raises what opening it does."""

    def __init__(self, desk: Callable[[], CallDesk]) -> None:
        self._desk = desk
        self._beginners = ThreadPoolExecutor(BEGINNERS, thread_name_prefix="keyfleet-begin")

    def close(self) -> None:
        """Begin no more calls of event loops."""
        self._beginners.shutdown(wait=False)

    def outcome(self, endpoint: str, body: bytes, terms: CallTerms) -> Outcome:
        """The outcome of a call. Raises DeadlineExceeded, and what `CallDesk.begin` and opening the desk raise."""
        desk, call = self._begin(endpoint, body, terms)
        try:
            return call.ended.result(terms.left_s)
        except (FutureTimeout, TimeoutError):
            desk.abandon(call)
            with contextlib.suppress(FutureTimeout, TimeoutError):
                call.withdrawn.result(WITHDRAWAL_S)
        except BaseException:
            desk.abandon(call)
            raise
        return _late(call)

    async def aoutcome(self, endpoint: str, body: bytes, terms: CallTerms) -> Outcome:
        """The same for an event loop. A call whose task is cancelled is taken back."""
        desk, call = await self._abegin(endpoint, body, terms)
        ended = asyncio.wrap_future(call.ended)
        try:
            await asyncio.wait([ended], timeout=terms.left_s)
        except asyncio.CancelledError:
            desk.abandon(call)
            ended.cancel()
            raise
        if ended.done():
            return ended.result()
        ended.cancel()
        desk.abandon(call)
        await asyncio.wait([asyncio.wrap_future(call.withdrawn)], timeout=WITHDRAWAL_S)
        return _late(call)

    def _begin(self, endpoint: str, body: bytes, terms: CallTerms) -> tuple[CallDesk, Call]:
        desk = self._desk()
        call = desk.begin(endpoint, body, urgent=terms.urgent, until_s=terms.until_s, max_attempts=terms.max_attempts)
        return desk, call

    async def _abegin(self, endpoint: str, body: bytes, terms: CallTerms) -> tuple[CallDesk, Call]:
        """Begin a call on another thread. One that nobody waits for by then is taken back once it has begun."""
        try:
            beginning = self._beginners.submit(self._begin, endpoint, body, terms)
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


def _abandon_begun(beginning: Future[tuple[CallDesk, Call]]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        desk, call = beginning.result()
        desk.abandon(call)


def _late(call: Call) -> Outcome:
    """The outcome of a call whose time is over, if it came all the same; else DeadlineExceeded is raised."""
    if call.ended.done():
        return call.ended.result()
    was_sent = call.withdrawn.result() if call.withdrawn.done() else call.was_tried
    what = "could not be started"
    if was_sent:
        what = "was sent, and not answered" if call.withdrawn.done() else "may have been sent, and was not answered"
    raise DeadlineExceeded(f"the request {what} before its time was over", was_sent=was_sent)
