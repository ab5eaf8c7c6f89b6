"""Writes calls into the ledger, those of a moment together, and takes back those that nobody waits for any more."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import redis

from keyfleet.calls.book import Call, CallBook
from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, Withdrawn
from keyfleet.running.accepting import Acceptor

__all__ = ["CallSender"]

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 128
"""Calls that one round trip writes."""

WITHDRAW_S = 0.25
"""Interval of taking back calls that workers held when their callers went (s): a worker may hand them back."""

Group = tuple[str, bool]
"""What one round trip can write together: queue and urgency."""


class CallSender:
    """A thread. It alone accepts for its job, since a job remembers its last batch only."""

    def __init__(self, ledger: JobLedger, acceptor: Acceptor, book: CallBook, stopping: threading.Event) -> None:
        self._ledger = ledger
        self._acceptor = acceptor
        self._book = book
        self._stopping = stopping
        self._waiting: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._abandoned: list[Call] = []
        self._withdrew_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name="keyfleet-call-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, call: Call) -> None:
        """Send a call; of one that is abandoned, take it back."""
        self._waiting.put(call)

    def stop(self, timeout_s: float) -> None:
        """End, after `stopping` was set, and wait for that for so long."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._send(self._next_calls())
                self._withdraw_abandoned()
            except Exception:
                logger.exception("sending calls failed; it goes on")

    def _next_calls(self) -> list[Call]:
        calls: list[Call] = []
        try:
            call = self._waiting.get(timeout=WITHDRAW_S if self._abandoned else None)
            while call is not None:
                calls.append(call)
                if len(calls) >= MOST_AT_ONCE:
                    break
                call = self._waiting.get_nowait()
        except queue.Empty:
            pass
        return calls

    def _send(self, calls: Sequence[Call]) -> None:
        groups: dict[Group, list[Call]] = {}
        for call in calls:
            if call.is_abandoned:
                self._abandoned.append(call)
                self._withdrew_s = float("-inf")
            elif call.is_wanted:
                groups.setdefault((call.queue, call.request.urgent), []).append(call)
        for (queue_name, _), group in groups.items():
            self._accept(queue_name, group)

    def _accept(self, queue_name: str, group: Sequence[Call]) -> None:
        calls = {call.request.id: call for call in group}

        def still_wanted(requests: Sequence[Request]) -> Sequence[Request]:
            return [_with_time_left(calls[one.id]) for one in requests if calls[one.id].is_wanted]

        requests = [call.request for call in group]
        options = {call.request.id: call.options for call in group}
        if self._acceptor.accept(queue_name, requests, options=options, still_wanted=still_wanted):
            for call in group:
                call.is_accepted = True

    def _withdraw_abandoned(self) -> None:
        """Those that a worker holds are looked at again: it may hand them back, and then they must not be sent."""
        if not self._abandoned or time.monotonic() - self._withdrew_s < WITHDRAW_S:
            return
        self._withdrew_s = time.monotonic()
        by_queue: dict[str, list[Call]] = {}
        for call in self._abandoned:
            by_queue.setdefault(call.queue, []).append(call)
        left: list[Call] = []
        for queue_name, calls in by_queue.items():
            left += self._withdraw(queue_name, calls)
        self._abandoned = left

    def _withdraw(self, queue_name: str, calls: list[Call]) -> list[Call]:
        """Take calls back, and return those that have to be looked at again."""
        try:
            found = self._ledger.withdraw(queue_name, [call.request.id for call in calls])
        except redis.RedisError as error:
            logger.info("calls can't be taken back now (%s)", type(error).__name__)
            return calls
        for call, state in zip(calls, found, strict=True):
            if not call.withdrawn.done():
                call.withdrawn.set_result(state is Withdrawn.HELD or (state is Withdrawn.GONE and call.is_accepted))
            if state is not Withdrawn.HELD:
                self._book.remove(call.request.id)
        return [call for call, state in zip(calls, found, strict=True) if state is Withdrawn.HELD]


def _with_time_left(call: Call) -> Request:
    """The request as it is accepted now: it may be started for as long as its caller still waits."""
    if call.until_s is None:
        return call.request
    return replace(call.request, start_within_ms=max(1, round((call.until_s - time.monotonic()) * 1000)))
