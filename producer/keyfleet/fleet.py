"""All of a team's keys as one thing to send requests to."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from contextlib import ExitStack
from types import TracebackType

from keyfleet.calls.caller import Caller
from keyfleet.calls.desks import CallDesks
from keyfleet.calls.methods import CallMethods
from keyfleet.errors import FleetClosed
from keyfleet.fleet_insight import InsightMethods
from keyfleet.fleet_jobs import FleetJobs, JobMethods
from keyfleet.fleet_keys import KeysArgument
from keyfleet.open_fleet import FleetOptions, OpenFleet, open_fleet

__all__ = ["Fleet"]


class Fleet(CallMethods, JobMethods, InsightMethods):
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
        self._caller = Caller(self._desks)
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

    def _desks(self) -> CallDesks:
        return self.open().desks

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

    def lanes(self, model: str) -> int:
        """How many keys serve `model` now, at least 1."""
        return self.open().lanes(model)
