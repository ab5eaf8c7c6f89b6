"""Where interactive calls go in and their outcomes come out: one job of this process, whose stream is read at once."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import replace

import redis

from keyfleet.broker import ServerWatch
from keyfleet.calls.admission import CallAdmission
from keyfleet.calls.book import Call, CallBook
from keyfleet.calls.replies import ReplyReader
from keyfleet.calls.sender import CallSender
from keyfleet.calls.stream import CallStream
from keyfleet.calls.terms import CallTerms
from keyfleet.calls.waiting import WaitWatch
from keyfleet.errors import BrokerUnavailable, FleetClosed, JobCancelled, KeyfleetError
from keyfleet.ledger import JobFacts, JobLedger, JobOptions
from keyfleet.running.accepting import Acceptor
from keyfleet.running.backend import Backend
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.job_facts import this_host
from keyfleet.running.output_estimates import OutputEstimates
from keyfleet.running.served_models import ServedModels

__all__ = ["CallDesk"]

logger = logging.getLogger(__name__)

WITHDRAW_S = 2.0
"""How long closing waits for calls to be taken back (s)."""

THREAD_END_S = 2.0
"""How long a thread may take to end (s)."""

KEEP_MS = 1000
"""How long the record of calls stays once they are over (ms): nobody looks for it."""

NAMED_KEEP_MS = 3_600_000
"""The same where somebody has named them (ms): names may be as many as calls."""


class CallDesk:
    """For any thread. `start` before the first call; `close` ends what is under way."""

    def __init__(
        self,
        backend: Backend,
        served: ServedModels | None,
        status: Callable[[], FleetStatus | None],
        *,
        grace_s: float,
        name: str = "",
        encoding_name: str | None = None,
        look: Callable[[], None] = lambda: None,
        declare_flags: bool = True,
    ) -> None:
        """`served` None: the workers are others' business. `status` tells how they stand. `name` is what its calls are
        listed under; empty: this process's. `grace_s` is how long a call waits for a worker whose key serves its model.
        `look` is called now and then, by one thread."""
        settings = backend.settings
        self._backend = backend
        self._client, watch = backend.connect()
        self._also_look = look
        self._stopping = threading.Event()
        self._numbers = itertools.count(1)
        self._notes: set[str] = set()
        self._is_closed = False
        self._has_left_calls = False
        self._book = CallBook()
        self._options = JobOptions(
            max_attempts=settings.max_attempts,
            timeout_s=settings.timeout_s,
            timeout_attempts=settings.timeout_attempts,
        )
        self._ledger = self._new_ledger(name, declare_flags)
        self._sender = CallSender(self._ledger, self._book, self._stopping)
        self._sender.accept_with(self._new_acceptor())
        self._admission = CallAdmission(served, encoding_name)
        self._estimates = OutputEstimates(self._client)
        self._waits = WaitWatch(self._book, status, lambda: backend.workers, self._sender.withdraw, grace_s=grace_s)
        self._replies = self._new_replies(watch)

    def _new_acceptor(self) -> Acceptor:
        return Acceptor(self._client, self._ledger, stopping=self._stopping, say=self._say, on_pause=self._sender.look)

    def _new_replies(self, watch: ServerWatch) -> ReplyReader:
        return ReplyReader(
            self._ledger,
            self._book,
            watch,
            self._stopping,
            send_again=self._sender.put,
            on_away=self._bring_server_back,
            on_cancelled=self._cancel_all,
            take_back=self._sender.withdraw,
            tell_read=self._sender.note_read,
            look=self._look,
        )

    def _new_ledger(self, name: str, declare_flags: bool) -> JobLedger:
        host = this_host()
        facts = JobFacts(name=name or f"calls of {host}:{os.getpid()}", host=host, format="calls")
        return JobLedger(
            *(self._client, self._backend.settings.fleet, uuid.uuid4().hex, self._options),
            facts=facts,
            keep_ms=NAMED_KEEP_MS if name else KEEP_MS,
            is_caller=True,
            declare_flags=declare_flags,
        )

    def start(self) -> None:
        """Make the job known and begin. Raises BrokerUnavailable."""
        try:
            self._ledger.open(begins=True)
            self._ledger.say_alive()
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker stopped answering at the start ({type(error).__name__})") from None
        self._sender.start()
        self._replies.start()

    def serve(self, served: ServedModels) -> None:
        """From now on this is what the keys can do."""
        self._admission.served = served

    def takes_long(self, body: bytes) -> bool:
        """Whether `begin` may take longer than an event loop can spare."""
        return self._admission.takes_long(body)

    def begin(self, endpoint: str, body: bytes, terms: CallTerms, *, streams: bool = False) -> Call:
        """Send a call. Raises InvalidRequest, NoKeyServes, RequestTooLarge and FleetClosed.

        It is not started any more once its time, or its time to wait, is over. `streams`: its answer is wanted as it
        comes, which its body must say too.
        """
        call_id = str(next(self._numbers))
        request = self._admission.request(call_id, endpoint, body, urgent=terms.urgent, streams=streams)
        options = self._options
        if terms.max_attempts is not None:
            options = replace(options, max_attempts=terms.max_attempts)
        if terms.left_s is not None:
            options = replace(options, timeout_s=min(options.timeout_s, round(max(0.001, terms.left_s), 3)))
        stream = CallStream() if streams else None
        call = Call(request, options, terms.until_s, terms.start_by_s, stream=stream)
        self._book.add(call)
        self._sender.put(call)
        if self._is_closed:  # in the midst of the lines above
            self._end(call, FleetClosed("the fleet was closed"))
        return call

    def abandon(self, call: Call) -> None:
        """Nobody waits for a call any more. It is taken back, unless a worker is sending it just now."""
        call.is_abandoned = True
        self._sender.withdraw(call)

    def note_read(self, call: Call, read_bytes: int | None) -> None:
        """So many bytes of an answer that comes in pieces were read; None: it is over."""
        self._sender.note_read(call, read_bytes)

    def close(self) -> None:
        """End what is under way with FleetClosed, unpaid as far as it was not sent."""
        if self._is_closed:
            return
        self._is_closed = True
        calls = self._book.all()
        for call in calls:
            self.abandon(call)
        wait([call.withdrawn for call in calls], WITHDRAW_S)
        for call in calls:
            call.fail(FleetClosed("the fleet was closed", was_sent=call.may_be_sent))
        self._stopping.set()
        has_ended = self._sender.stop(THREAD_END_S) and self._replies.join(THREAD_END_S)
        self._leave(can_say=has_ended)
        self._client.close()

    @property
    def waiting(self) -> int:
        """Calls under way."""
        return len(self._book)

    @property
    def has_left_calls(self) -> bool:
        """Whether workers had calls in flight when it was closed."""
        return self._has_left_calls

    def _leave(self, *, can_say: bool) -> None:
        """Where calls are in flight, the record stays until they have ended, for the fleet's workers to remove.

        To a server that hangs nothing can be said; it shows by itself after some seconds.
        """
        self._has_left_calls = len(self._book) > 0
        if not can_say:
            return
        try:
            if self._has_left_calls:
                self._ledger.say_alive(leaves=True)
            else:
                self._ledger.close()
        except redis.RedisError as error:
            logger.info("the broker doesn't answer at the end (%s)", type(error).__name__)

    def _look(self) -> None:
        self._waits.look()
        self._admission.refresh(self._estimates.tokens)
        self._also_look()

    def _end(self, call: Call, error: KeyfleetError) -> None:
        call.fail(error)
        self.abandon(call)

    def _cancel_all(self) -> None:
        for call in self._book.all():
            self._end(call, JobCancelled("the call was cancelled (`keyfleet jobs cancel`)"))

    def _bring_server_back(self) -> None:
        try:
            self._backend.bring_server_back()
        except BrokerUnavailable as error:
            self._say(str(error))

    def _say(self, reason: str) -> None:
        """Once for each reason, until all is well again."""
        if not reason:
            self._notes.clear()
        elif reason not in self._notes:
            self._notes.add(reason)
            logger.warning("calls wait: %s", reason)
