"""Reading the workers' status beside a run, so that a broker that hangs never holds up who looks at it."""

from __future__ import annotations

import threading

import redis

from keyfleet.clock import elapsed_s
from keyfleet.running.fleet_status import FleetStatus, read_fleet_status

__all__ = ["FleetWatch"]

STATUS_S = 1.0
"""Interval of reading the workers' status (s)."""

EMPTY_LOOKS = 3
"""Looks in a row without any worker after which there is none: one that has just begun may not have spoken yet."""


class FleetWatch:
    """A thread that keeps the present status of `fleet`."""

    def __init__(self, client: redis.Redis, fleet: str) -> None:
        self._client = client
        self._fleet = fleet
        self._stopping = threading.Event()
        self._empty_looks = 0
        self.status = FleetStatus()
        self.known: FleetStatus | None = None
        """The status, or None where the last look has brought none."""
        self.heard_s: float | None = None
        """When the broker answered last, on the monotonic clock: while it hangs, `known` grows old."""
        self._thread = threading.Thread(target=self._run, name="keyfleet-fleet-watch", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more. Doesn't wait for a broker that hangs."""
        self._stopping.set()

    @property
    def saw_no_worker(self) -> bool:
        """Whether the broker answered at the last few looks, and no worker was alive."""
        return self._empty_looks >= EMPTY_LOOKS

    def look(self) -> None:
        """Read the status once; a broker that is away has none."""
        try:
            self.status = read_fleet_status(self._client, self._fleet)
        except redis.RedisError:
            self.known, self.status, self._empty_looks = None, FleetStatus(), 0
        else:
            self.known, self.heard_s = self.status, elapsed_s()
            self._empty_looks = 0 if self.status.workers else self._empty_looks + 1

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(STATUS_S)
