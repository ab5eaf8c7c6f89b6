"""All of a team's keys as one thing to send requests to."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from keyfleet.calls import Answer, Priority, check_priority
from keyfleet.calls.answer import answer_of
from keyfleet.calls.book import Call
from keyfleet.contract import Outcome
from keyfleet.errors import DeadlineExceeded, FleetClosed, InvalidRequest
from keyfleet.fleet_jobs import FleetJobs, JobMethods
from keyfleet.open_fleet import FleetOptions, GivenKeysType, OpenFleet, open_fleet
from keyfleet.results import error_of, parsed_body

__all__ = ["Fleet"]

BEGINNERS = 4
"""Threads that begin calls of asynchronous callers: counting tokens would hold up their event loops."""

WITHDRAWAL_S = 1.0
"""How long a call whose time is over waits to hear whether it was sent (s)."""


class Fleet(JobMethods):
    """Sends requests through all keys, at the full rate that their limits allow and never above it.

        with Fleet(keys="keys.yaml") as fleet:
            answer = fleet.call("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": [...]})

    Without a broker it brings its own server and workers, a process for each key, as `keyfleet run` does. With one
    (`broker_url`, or KEYFLEET_BROKER_URL) it uses the workers that run there, and starts some of its own only where
    keys are given or `workers=True`. Nothing is started before the first call. For any thread, in one process.
    """

    def __init__(
        self,
        broker_url: str | None = None,
        keys: str | Path | GivenKeysType | None = None,
        *,
        fleet: str | None = None,
        workers: bool | None = None,
        use: float | str | None = None,
        concurrency: int | None = None,
        max_attempts: int | None = None,
        timeout_s: float | None = None,
        encoding_name: str | None = None,
    ) -> None:
        """`keys` is a keys file, or a list of API keys or of mappings with a keys file's fields; without it they are
        found as `keyfleet run` finds them. `use` is the share of every limit that may be used (0.7 or "70%"),
        `concurrency` the most calls under way per key, `max_attempts` the most calls for one request, `timeout_s` the
        longest silence of a provider in one call (seconds), `encoding_name` tiktoken's encoding for counting.

        Raises nothing: what is wrong is raised by the first use, as ConfigurationError or BrokerUnavailable.
        """
        self._options = FleetOptions(
            broker_url, keys, fleet, workers, use, concurrency, max_attempts, timeout_s, encoding_name
        )
        self._opening = threading.Lock()
        self._opened: OpenFleet | None = None
        self._stack = ExitStack()
        self._is_closed = False
        self._pid = os.getpid()
        self._beginners = ThreadPoolExecutor(BEGINNERS, thread_name_prefix="keyfleet-begin")
        self._jobs = FleetJobs(self.open)

    def __enter__(self) -> Fleet:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Fleet:
        await asyncio.to_thread(self.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def open(self) -> OpenFleet:
        """Find or start server and workers, unless that is done. Raises ConfigurationError, BrokerUnavailable and
        FleetClosed."""
        if self._pid != os.getpid():
            raise FleetClosed("this Fleet was made in another process; make one after the fork")
        with self._opening:
            if self._is_closed:
                raise FleetClosed("the fleet was closed")
            if self._opened is None:
                with ExitStack() as stack:
                    self._opened = open_fleet(self._options, stack)
                    self._stack = stack.pop_all()
                atexit.register(self.close)
            return self._opened

    def close(self) -> None:
        """End what is under way: calls that were not sent are dropped, unpaid; jobs end as Ctrl-C ends `keyfleet run`,
        and can be gone on with. Closing again does nothing."""
        if self._pid != os.getpid():
            return
        with self._opening:
            if self._is_closed:
                return
            self._is_closed = True
        atexit.unregister(self.close)
        self._beginners.shutdown(wait=False)
        try:
            self._jobs.close()
        except KeyboardInterrupt:
            if self._opened is not None:
                self._opened.has_left_jobs = True
            raise
        finally:
            self._stack.close()

    def call(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
    ) -> Any:
        """Send one request and wait for its response, whose document is returned.

        It overtakes the work of jobs, and waits for quota as long as it takes, or `timeout_s` seconds at the most.
        Raises RequestFailed, of which ProviderError (the provider's final answer is an error: `status`, `code`,
        `body`), NoKeyServes, RequestTooLarge and DeadlineExceeded are kinds; InvalidRequest; BrokerUnavailable.
        """
        return _document(self._outcome(endpoint, _text(body), timeout_s, priority, None))

    async def acall(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
    ) -> Any:
        """As `call`, for an event loop. Cancelling it takes the request back, unless it is being sent just then."""
        return _document(await self._aoutcome(endpoint, _text(body), timeout_s, priority, None))

    def send(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
    ) -> Answer:
        """As `call`, for a body that is JSON text already; a provider's final error is returned as an Answer too."""
        return _answer(self._outcome(endpoint, body, timeout_s, priority, max_attempts))

    async def asend(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
    ) -> Answer:
        """As `send`, for an event loop."""
        return _answer(await self._aoutcome(endpoint, body, timeout_s, priority, max_attempts))

    def lanes(self, model: str) -> int:
        """How many keys serve `model` now, at least 1."""
        return self.open().lanes(model)

    def _begin(
        self, endpoint: str, body: bytes, until_s: float | None, priority: Priority, max_attempts: int | None
    ) -> Call:
        urgent = check_priority(priority)
        return self.open().desk.begin(endpoint, body, urgent=urgent, until_s=until_s, max_attempts=max_attempts)

    def _outcome(
        self, endpoint: str, body: bytes, timeout_s: float | None, priority: Priority, max_attempts: int | None
    ) -> Outcome:
        until_s = _end_of(timeout_s)
        call = self._begin(endpoint, body, until_s, priority, max_attempts)
        try:
            return call.ended.result(_left_s(until_s))
        except (FutureTimeout, TimeoutError):
            self._abandon(call)
            with contextlib.suppress(FutureTimeout, TimeoutError):
                call.withdrawn.result(WITHDRAWAL_S)
        except BaseException:
            self._abandon(call)
            raise
        return _late(call)

    async def _aoutcome(
        self, endpoint: str, body: bytes, timeout_s: float | None, priority: Priority, max_attempts: int | None
    ) -> Outcome:
        until_s = _end_of(timeout_s)
        call = await self._abegin(endpoint, body, until_s, priority, max_attempts)
        ended = asyncio.wrap_future(call.ended)
        try:
            await asyncio.wait([ended], timeout=_left_s(until_s))
        except asyncio.CancelledError:
            self._abandon(call)
            ended.cancel()
            raise
        if ended.done():
            return ended.result()
        ended.cancel()
        self._abandon(call)
        await asyncio.wait([asyncio.wrap_future(call.withdrawn)], timeout=WITHDRAWAL_S)
        return _late(call)

    async def _abegin(
        self, endpoint: str, body: bytes, until_s: float | None, priority: Priority, max_attempts: int | None
    ) -> Call:
        """Begin a call on another thread. One whose caller is cancelled meanwhile is taken back once it has begun."""
        try:
            begun = self._beginners.submit(self._begin, endpoint, body, until_s, priority, max_attempts)
        except RuntimeError:
            raise FleetClosed("the fleet was closed") from None
        try:
            return await asyncio.shield(asyncio.wrap_future(begun))
        except asyncio.CancelledError:
            begun.add_done_callback(self._abandon_begun)
            raise

    def _abandon_begun(self, begun: Future[Call]) -> None:
        if not begun.cancelled() and begun.exception() is None:
            self._abandon(begun.result())

    def _abandon(self, call: Call) -> None:
        if self._opened is not None:
            self._opened.desk.abandon(call)


def _text(body: Mapping[str, Any]) -> bytes:
    if not isinstance(body, Mapping):
        raise InvalidRequest(
            f"body: expected a mapping, found {type(body).__name__}", code="invalid_json", field="body"
        )
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: is no JSON: {error}", code="invalid_json", field="body") from None


def _document(outcome: Outcome) -> Any:
    error = error_of(outcome)
    if error is not None:
        raise error
    return parsed_body(outcome.body)


def _answer(outcome: Outcome) -> Answer:
    answer = answer_of(outcome)
    if answer is not None:
        return answer
    error = error_of(outcome)
    raise error if error is not None else AssertionError("an outcome is a response, an answer or an error")


def _end_of(timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s > 0:
        raise InvalidRequest(
            "timeout_s: expected a number of seconds above 0", code="invalid_timeout", field="timeout_s"
        )
    return time.monotonic() + timeout_s


def _left_s(until_s: float | None) -> float | None:
    return None if until_s is None else max(0.0, until_s - time.monotonic())


def _late(call: Call) -> Outcome:
    """The outcome of a call whose time is over, if it came all the same; else DeadlineExceeded is raised."""
    if call.ended.done():
        return call.ended.result()
    was_sent = not call.withdrawn.done() or call.withdrawn.result()
    what = "was sent, and not answered" if was_sent else "could not be started"
    raise DeadlineExceeded(f"the request {what} before its time was over", was_sent=was_sent)
