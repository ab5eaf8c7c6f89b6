"""The requests that this worker holds, and until when it may start them."""

from __future__ import annotations

import threading

from keyfleet.clock import elapsed_s
from keyfleet.ledger import Taken

__all__ = ["HeldRequests"]


class HeldRequests:
    """Leases by queue and request, on the monotonic clock, which also runs on while a host sleeps where it can."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._until_s: dict[tuple[str, str, str], float] = {}
        self._taken: dict[tuple[str, str, str], Taken] = {}

    def hold(self, queue: str, key: str, token: str, asked_s: float, taken: Taken | None = None) -> None:
        """A request was leased; `asked_s` is the time just before the server was asked.

        With `taken` it can be put back into a ledger that has lost it.
        """
        with self._lock:
            self._until_s[queue, key, token] = asked_s + self._lease_s
            if taken is not None:
                self._taken[queue, key, token] = taken

    def drop(self, queue: str, key: str, token: str) -> None:
        """The request is over here."""
        with self._lock:
            self._until_s.pop((queue, key, token), None)
            self._taken.pop((queue, key, token), None)

    def suspend(self, queue: str, key: str, token: str) -> None:
        """The server doesn't know the request: it may not be started, unless the server has lost it and is told."""
        with self._lock:
            if (queue, key, token) in self._until_s:
                self._until_s[queue, key, token] = float("-inf")

    def stands(self, queue: str, key: str, token: str) -> bool:
        """Whether the lease surely stands now."""
        return elapsed_s() < self._until_s.get((queue, key, token), float("-inf"))

    def renewed(self, queue: str, key: str, token: str, asked_s: float) -> None:
        """The server prolonged the lease, asked at `asked_s`."""
        with self._lock:
            if (queue, key, token) in self._until_s:
                self._until_s[queue, key, token] = asked_s + self._lease_s

    def by_queue(self) -> dict[str, list[tuple[str, str]]]:
        """(request, token) pairs held, by queue."""
        with self._lock:
            names = list(self._until_s)
        held: dict[str, list[tuple[str, str]]] = {}
        for queue, key, token in names:
            held.setdefault(queue, []).append((key, token))
        return held

    def in_hand(self) -> dict[str, list[Taken]]:
        """The requests held, by queue."""
        with self._lock:
            rows = list(self._taken.items())
        found: dict[str, list[Taken]] = {}
        for (queue, _, _), taken in rows:
            found.setdefault(queue, []).append(taken)
        return found

    def __len__(self) -> int:
        return len(self._until_s)
