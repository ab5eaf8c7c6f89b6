"""The calls that are in flight here, so that those nobody waits for any more can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from keyfleet_workers.provider.ongoing_call import OngoingCall

__all__ = ["CallsInFlight"]


class CallsInFlight:
    """By queue and request. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, str], OngoingCall] = {}

    @contextmanager
    def of(self, queue: str, key: str) -> Iterator[OngoingCall]:
        """A call of the request `key`, as long as it goes on."""
        call = OngoingCall()
        with self._lock:
            self._calls[queue, key] = call
        try:
            yield call
        finally:
            with self._lock:
                if self._calls.get((queue, key)) is call:
                    del self._calls[queue, key]
            call.end()

    def stop(self, queue: str, key: str) -> bool:
        """Nobody waits for this request's answer; returns whether its call was in flight here."""
        with self._lock:
            call = self._calls.get((queue, key))
        if call is not None:
            call.stop()
        return call is not None
