"""A chunk: the requests that a worker takes on one ticket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from keyfleet.ledger import model_of
from keyfleet_workers.dispatch.chunk_report import ChunkEnd
from keyfleet_workers.dispatch.taking import ChunkParts, Taking

__all__ = ["ChunkRunner"]

PARKED_S = 0.25
"""How long a ticket waits for another of its queue that is being served here, before it goes back (s)."""


class ChunkRunner:
    """Serves tickets for one key.

    Of each queue one chunk at a time takes; it may stand and wait up to two seconds for quota or slots, having put
    its ticket back for other workers, so that nothing is kept from a key that could run it now.
    """

    def __init__(self, parts: ChunkParts) -> None:
        self._parts = parts
        self._roles: dict[str, threading.Lock] = {}
        self._roles_lock = threading.Lock()

    def run(self, queue: str, count: int, tell: Callable[[object], None] = lambda what: None) -> ChunkEnd:
        """Serve one ticket; `tell` is given what the chunk is, as far as that is known."""
        report = self._parts.report(queue, tell)
        with ExitStack() as at_end, self._taking_role(queue, PARKED_S) as has_role:
            if not has_role:
                self._parts.put_back(queue, count)
                return ChunkEnd(instead="put back")
            at_end.callback(self._parts.control.chunk_ended, self._parts.control.chunk_began())
            at_end.callback(report.counts.wait)  # before the chunk ends, however taking ends, and behind the role
            Taking(self._parts, queue, self._parts.quota(queue), report).serve(count)
        return report.end()

    def hurry(self, queue: str) -> None:
        """An urgent request is ready: take it now, where other work makes its queue wait. Waits for nothing."""
        if not self._parts.binding.serves(model_of(queue)):
            return
        if queue not in self._parts.waits.current() or self._parts.standing.wake(queue):
            return
        with self._taking_role(queue, 0.0) as has_role:
            if has_role:
                parts, report = self._parts, self._parts.report(queue)
                Taking(parts, queue, parts.quota(queue), report, has_ticket=False).take_at_once()
                report.counts.tell_end(report.end)

    @contextmanager
    def _taking_role(self, queue: str, timeout_s: float) -> Iterator[bool]:
        with self._roles_lock:
            role = self._roles.setdefault(queue, threading.Lock())
        has_role = role.acquire(timeout=timeout_s)
        try:
            yield has_role
        finally:
            if has_role:
                role.release()
