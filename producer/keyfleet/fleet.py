"""All of a team's keys as one thing to send requests to."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from keyfleet.calls import Answer, CallDesk, Priority
from keyfleet.calls.answer import answer_of
from keyfleet.calls.caller import Caller, CallTerms
from keyfleet.contract import Outcome
from keyfleet.errors import FleetClosed, InvalidRequest
from keyfleet.fleet_jobs import FleetJobs, JobMethods
from keyfleet.fleet_keys import KeysArgument
from keyfleet.open_fleet import FleetOptions, OpenFleet, open_fleet
from keyfleet.results import error_of, parsed_body

__all__ = ["Fleet"]


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
        keys: KeysArgument | None = None,
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
        self._opening = threading.RLock()  # a signal's handler may close it in the midst of its opening
        self._opened: OpenFleet | None = None
        self._stack = ExitStack()
        self._is_closed = False
        self._pid = os.getpid()
        self._caller = Caller(self._desk)
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
        self._check_process()
        with self._opening:
            self._check_open()
            if self._opened is None:
                with ExitStack() as stack:
                    self._opened = open_fleet(self._options, stack)
                    self._check_open()
                    self._stack = stack.pop_all()
                atexit.register(self.close)
            return self._opened

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise FleetClosed("this Fleet was made in another process; make one after the fork")

    def _check_open(self) -> None:
        if self._is_closed:
            raise FleetClosed("the fleet was closed")

    def _desk(self) -> CallDesk:
        return self.open().desk

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
        self._caller.close()
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
        return _document(self._caller.outcome(endpoint, _text(body), CallTerms.of(timeout_s, priority)))

    async def acall(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
    ) -> Any:
        """As `call`, for an event loop. Cancelling it takes the request back, unless it is being sent just then."""
        return _document(await self._acall(endpoint, _text(body), CallTerms.of(timeout_s, priority)))

    def send(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer:
        """As `call`, for a body that is JSON text already; a provider's final error is returned as an Answer too."""
        return _answer(self._caller.outcome(endpoint, _checked(body), CallTerms.of(timeout_s, priority, max_attempts)))

    async def asend(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer:
        """As `send`, for an event loop."""
        return _answer(await self._acall(endpoint, _checked(body), CallTerms.of(timeout_s, priority, max_attempts)))

    async def _acall(self, endpoint: str, body: bytes, terms: CallTerms) -> Outcome:
        self._check_process()  # before a thread is asked that a forked child hasn't got
        return await self._caller.aoutcome(endpoint, body, terms)

    def lanes(self, model: str) -> int:
        """How many keys serve `model` now, at least 1."""
        return self.open().lanes(model)


def _text(body: Mapping[str, Any]) -> bytes:
    if not isinstance(body, Mapping):
        raise InvalidRequest(
            f"body: expected a mapping, found {type(body).__name__}", code="invalid_json", field="body"
        )
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: is no JSON: {error}", code="invalid_json", field="body") from None


def _checked(body: bytes) -> bytes:
    if not isinstance(body, bytes):
        raise InvalidRequest(f"body: expected bytes, found {type(body).__name__}", code="invalid_json", field="body")
    return body


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
