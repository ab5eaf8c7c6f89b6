"""The bounded set of requests that are accepted and not yet collected."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from keyfleet.batch.lines import InputLine

__all__ = ["WINDOW_BYTES", "WINDOW_REQUESTS", "OpenRequest", "Window"]

WINDOW_REQUESTS = 4000
"""Most requests of one queue under way: more than a second's work of the fastest fleet measured."""

WINDOW_BYTES = 48 * 1024 * 1024
"""Most bytes of one queue's requests and answers under way; one request is let in however large it is."""

ANSWER_WEIGHT = 0.02
"""Weight of the newest answer in the mean size of answers."""


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request under way. `line` is None where an earlier run has accepted it."""

    queue: str
    size_bytes: int
    line: InputLine | None = None


class Window:
    """Open requests by id, bounded per queue in number and in bytes, answers to come included. For any thread."""

    def __init__(self, *, requests: int = WINDOW_REQUESTS, size_bytes: int = WINDOW_BYTES) -> None:
        self._requests = requests
        self._size_bytes = size_bytes
        self._changed = threading.Condition()
        self._open: dict[str, OpenRequest] = {}
        self._counts: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._mean_answer_bytes = 0.0
        self._unaccepted: set[str] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._open

    def has_room(self, queue: str) -> bool:
        """Whether one more request may be accepted into `queue`."""
        count = self._counts.get(queue, 0)
        expected_bytes = self._bytes.get(queue, 0) + count * self._mean_answer_bytes
        return not count or (count < self._requests and expected_bytes < self._size_bytes)

    def is_full(self) -> bool:
        """Whether no queue that has requests under way has room for more."""
        with self._changed:
            queues = [queue for queue, count in self._counts.items() if count]
        return bool(queues) and not any(self.has_room(queue) for queue in queues)

    def add(self, request_id: str, request: OpenRequest, *, accepted: bool = True) -> None:
        """A request is under way; one that is already counts once. `accepted`: the server has it, or had it."""
        with self._changed:
            if request_id in self._open:
                return
            self._open[request_id] = request
            if not accepted:
                self._unaccepted.add(request_id)
            self._counts[request.queue] = self._counts.get(request.queue, 0) + 1
            self._bytes[request.queue] = self._bytes.get(request.queue, 0) + request.size_bytes

    def note_accepted(self, request_ids: Iterable[str]) -> None:
        """The server has these requests now."""
        with self._changed:
            self._unaccepted.difference_update(request_ids)

    def remove(self, request_id: str, answer_bytes: int | None = None) -> OpenRequest | None:
        """A request is over here; `answer_bytes` is the size of its outcome, where it has one."""
        with self._changed:
            request = self._open.pop(request_id, None)
            self._unaccepted.discard(request_id)
            if request is not None:
                self._counts[request.queue] -= 1
                self._bytes[request.queue] -= request.size_bytes
            if answer_bytes is not None:
                self._mean_answer_bytes += (answer_bytes - self._mean_answer_bytes) * ANSWER_WEIGHT
            self._changed.notify_all()
            return request

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until a request is removed, for `timeout_s` at the most."""
        with self._changed:
            self._changed.wait(timeout_s)

    def by_queue(self, *, accepted: bool = False) -> dict[str, list[str]]:
        """Ids of open requests by queue; `accepted`: only of those that the server has or had."""
        with self._changed:
            found: dict[str, list[str]] = {}
            for request_id, request in self._open.items():
                if accepted and request_id in self._unaccepted:
                    continue
                found.setdefault(request.queue, []).append(request_id)
            return found

    def queues(self) -> set[str]:
        """The queues that have open requests."""
        with self._changed:
            return {queue for queue, count in self._counts.items() if count}
