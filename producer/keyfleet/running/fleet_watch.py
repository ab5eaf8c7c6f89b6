"""Reading the workers' status beside a run, so that a broker that hangs never holds up who looks at it."""

from __future__ import annotations

import threading

import redis

from keyfleet.running.fleet_status import FleetStatus, read_fleet_status

__all__ = ["FleetWatch"]

STATUS_S = 1.0
"""Interval of reading the workers' status (s)."""


class FleetWatch:
    """A thread that keeps the present status of `fleet`."""

    def __init__(self, client: redis.Redis, fleet: str) -> None:
        self._client = client
        self._fleet = fleet
        self._stopping = threading.Event()
        self._answers = False
        self.status = FleetStatus()
        self._thread = threading.Thread(target=self._run, name="keyfleet-fleet-watch", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more. Doesn't wait for a broker that hangs."""
        self._stopping.set()

    @property
    def saw_no_worker(self) -> bool:
        """Whether the broker answered at the last look, and no worker was alive."""
        return self._answers and not self.status.workers

    def look(self) -> None:
        """Read the status once; a broker that is away has none."""
        try:
            self.status, self._answers = read_fleet_status(self._client, self._fleet), True
        except redis.RedisError:
            self.status, self._answers = FleetStatus(), False

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(STATUS_S)
