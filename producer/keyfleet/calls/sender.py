"""Writes calls into the ledger, those of a moment together, and takes back those that nobody waits for any more."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import redis

from keyfleet.calls.book import Call, CallBook
from keyfleet.calls.withdrawing import LOOK_S, Withdrawal
from keyfleet.contract import Request
from keyfleet.errors import JobCancelled, RequestFailed
from keyfleet.ledger import JobLedger
from keyfleet.running.accepting import Acceptor

__all__ = ["CallSender"]

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 128
"""Calls that one round trip writes."""

Group = tuple[str, bool]
"""What one round trip can write together: queue and urgency."""


class CallSender:
    """A thread. It alone accepts for its job, since a job remembers its last batch only."""

    def __init__(self, ledger: JobLedger, book: CallBook, stopping: threading.Event) -> None:
        """`accept_with` is to be called before `start`."""
        self._book = book
        self._stopping = stopping
        self._ledger = ledger
        self._withdrawal = Withdrawal(ledger, book)
        self._read: deque[tuple[str, int | None]] = deque()
        self._waiting: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="keyfleet-call-sender", daemon=True)

    def accept_with(self, acceptor: Acceptor) -> None:
        """Calls are written by `acceptor`, which calls `look` while it waits."""
        self._acceptor = acceptor

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, call: Call) -> None:
        """Send a call. For any thread, as `withdraw` is."""
        self._waiting.put(call)

    def withdraw(self, call: Call) -> None:
        """Take a call back that is abandoned, or unserved."""
        self._withdrawal.put(call)
        self._waiting.put(None)

    def note_read(self, call: Call, read_bytes: int | None) -> None:
        """So much of an answer that comes in pieces was read; None: it is over. For any thread."""
        self._read.append((call.request.id, read_bytes))
        self._waiting.put(None)

    def look(self) -> None:
        """Take back what nobody waits for: also while the server is full, which that helps."""
        self._withdrawal.look()

    def stop(self, timeout_s: float) -> bool:
        """End, after `stopping` was set, and wait for that for so long; returns whether it has ended."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._send(self._next_calls())
                self._withdrawal.look()
                self._tell_read()
            except Exception:
                logger.exception("sending calls failed; it goes on")

    def _tell_read(self) -> None:
        told = list(self._read)
        if not told:
            return
        latest = dict(told)
        try:
            self._ledger.note_read(latest)
        except redis.RedisError as error:
            logger.info("what was read can't be told now (%s)", type(error).__name__)
            self._stopping.wait(LOOK_S)
            self._waiting.put(None)
            return
        for _ in told:
            self._read.popleft()

    def _next_calls(self) -> list[Call]:
        """The calls of this moment; waits for one, unless there are others to be taken back."""
        calls: list[Call] = []
        try:
            call = self._waiting.get(timeout=LOOK_S if self._withdrawal.has_work else None)
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
            if call.is_wanted:
                groups.setdefault((call.queue, call.request.urgent), []).append(call)
        for group in groups.values():
            self._accept_or_fail(group)

    def _accept_or_fail(self, group: Sequence[Call]) -> None:
        """Accept calls, or end those that can't be; never one for another's sake."""
        try:
            self._accept(group)
        except JobCancelled as error:
            for call in group:
                self._fail(call, JobCancelled(str(error)))
        except Exception as error:
            if len(group) > 1:
                for call in group:
                    self._accept_or_fail([call])
                return
            logger.exception("a call can't be written into the ledger")
            why = f"the request can't be written into the broker ({type(error).__name__})"
            self._fail(group[0], RequestFailed(why, code="not_accepted"))

    def _fail(self, call: Call, error: Exception) -> None:
        call.fail(error)
        call.note_withdrawn(False)
        self._book.remove(call.request.id)

    def _accept(self, group: Sequence[Call]) -> None:
        calls = {call.request.id: call for call in group}
        tried: list[Call] = []

        def still_wanted(requests: Sequence[Request]) -> Sequence[Request]:
            tried[:] = [calls[one.id] for one in requests if calls[one.id].is_wanted]
            for call in tried:
                call.was_tried = True
            return [_with_time_left(call) for call in tried]

        requests = [call.request for call in group]
        options = {call.request.id: call.options for call in group}
        if self._acceptor.accept(group[0].queue, requests, options=options, still_wanted=still_wanted):
            for call in tried:
                call.is_accepted = True


def _with_time_left(call: Call) -> Request:
    """The request as it is accepted now: it may be started for as long as its caller still waits."""
    if call.until_s is None:
        return call.request
    return replace(call.request, start_within_ms=max(1, round((call.until_s - time.monotonic()) * 1000)))
