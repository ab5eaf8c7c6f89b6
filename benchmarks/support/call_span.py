"""When the stand-in saw the first request of a run arrive and the last one end, on its own clock."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from keyfleet.sim import SimProcess

__all__ = ["CallSpan"]

LOOK_S = 0.02
"""Interval of looking for the first request (s): far fewer end in it than the last 1,000, which the stand-in keeps."""

HTTP_TIMEOUT_S = 10.0


@dataclass(slots=True)
class CallSpan:
    """Watches a fresh stand-in from `start` on; `span_s` is to be read after the run."""

    sim: SimProcess
    first_s: float | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> CallSpan:
        self._thread = threading.Thread(target=self._look_for_first, name="call-span", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def span_s(self) -> float:
        """Seconds from the first request's arrival to the end of the last answer. Raises RuntimeError if none was."""
        ended = [float(one["ended_s"]) for one in self.latest()]
        if self.first_s is None or not ended:
            raise RuntimeError("the stand-in saw no request")
        return max(ended) - self.first_s

    def latest(self) -> list[Mapping[str, Any]]:
        """The last 1,000 requests that are over."""
        connection = http.client.HTTPConnection(urlsplit(self.sim.base_url).netloc, timeout=HTTP_TIMEOUT_S)
        try:
            connection.request("GET", "/sim/requests")
            requests: list[Mapping[str, Any]] = json.loads(connection.getresponse().read())["requests"]
            return requests
        finally:
            connection.close()

    def _look_for_first(self) -> None:
        while not self._stopping.wait(LOOK_S):
            if found := self.latest():
                self.first_s = min(float(one["arrived_s"]) for one in found)
                return
