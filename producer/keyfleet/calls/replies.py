"""Reads the outcomes of calls, says that their caller lives, and makes good what a server has lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import redis

from keyfleet.broker import ServerWatch
from keyfleet.calls.book import Call, CallBook
from keyfleet.contract import CALLER_GONE, Outcome
from keyfleet.errors import StreamBroken
from keyfleet.ledger import JobLedger, ProducerWord
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet.ledger.pieces import Piece

__all__ = ["ReplyReader"]

logger = logging.getLogger(__name__)

READ_MOST = 500
"""Most outcomes, or pieces of answers, that are read at once."""

UNTRIMMED_MOST = 100
UNTRIMMED_BYTES = 1_000_000
"""What was read is dropped from the stream when it is as much, or when there is a pause. To drop each answer at once is
a write of its own, which a server that syncs every write to disk makes the next call wait for."""

BLOCK_MS = 200
"""How long one read waits for an outcome (ms)."""

SPEAK_S = 0.5
"""Interval of saying that the caller lives, and of looking whether the workers of its streams do (s)."""

SILENT_S = ALIVE_MS / 2000
"""After so long a silence of this process, what it waits for may have been taken for nobody's (s)."""

STREAM_SILENT_S = 10.0
"""So long nothing may be heard of an answer that has begun; its worker speaks every two seconds (s)."""

DEAF_S = 1.0
"""A look at the stream that takes longer has met a broker that stood still, or this process did (s)."""

AWAY_S = 0.25
"""Pause where the broker doesn't answer (s)."""

REDELIVERY_S = 3.0
"""After a restart of the broker, how long workers may take to deliver its last seconds again (s)."""


class ReplyReader:
    """A thread."""

    def __init__(
        self,
        ledger: JobLedger,
        book: CallBook,
        watch: ServerWatch,
        stopping: threading.Event,
        *,
        send_again: Callable[[Call], None],
        on_away: Callable[[], None],
        on_cancelled: Callable[[], None],
        take_back: Callable[[Call], None],
        tell_read: Callable[[Call, int], None],
        look: Callable[[], None],
    ) -> None:
        """`send_again` is given calls that the server has lost or dropped; `on_away` may bring the server back;
        `on_cancelled` is told that somebody has cancelled what is under way; `take_back` is given calls whose answers
        broke off, `tell_read` how many bytes of an answer were read, where the server may have lost that; `look` is
        called several times a second.
        """
        self._ledger = ledger
        self._book = book
        self._watch = watch
        self._stopping = stopping
        self._send_again = send_again
        self._on_away = on_away
        self._on_cancelled = on_cancelled
        self._take_back = take_back
        self._tell_read = tell_read
        self._look = look
        self._last = "0"
        self._untrimmed = 0
        self._untrimmed_bytes = 0
        self._spoke_s = time.monotonic()
        self._speak_due_s = 0.0
        self._silence_due_s = 0.0
        self._thread = threading.Thread(target=self._run, name="keyfleet-call-replies", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end, after `stopping` was set; returns whether it has ended."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.step()
            except redis.RedisError as error:
                logger.info("answers can't be read now (%s)", type(error).__name__)
                self._on_away()
                self._stopping.wait(AWAY_S)
                self._forgive_silence()
            except Exception:
                logger.exception("reading answers failed; it goes on")
                self._stopping.wait(AWAY_S)
                self._forgive_silence()

    def _forgive_silence(self) -> None:
        """While the broker is away, or this process stands still, no worker is heard that says that it lives."""
        for call in self._book.all():
            if call.stream is not None:
                call.stream.heard_s = time.monotonic()

    def step(self) -> None:
        """Speak and read once. Raises redis.RedisError."""
        began_s = time.monotonic()
        if self._watch.changed:
            self._recover(REDELIVERY_S)
            self._watch.dealt_with()
        self._speak()
        self._look()
        self._read(BLOCK_MS)
        if time.monotonic() - began_s > DEAF_S:
            self._forgive_silence()
        self._end_silent()

    def _speak(self) -> None:
        now_s = time.monotonic()
        if now_s < self._speak_due_s:
            return
        was_silent = now_s - self._spoke_s > SILENT_S
        word = self._ledger.say_alive()
        if word is ProducerWord.UNKNOWN or was_silent:
            self._recover(0.0)
        elif word is ProducerWord.CANCELLED:
            self._on_cancelled()
            self._ledger.open(begins=True)
        self._spoke_s = time.monotonic()
        self._speak_due_s = self._spoke_s + SPEAK_S

    def _read(self, block_ms: int | None) -> int:
        found = self._ledger.replies(self._last, count=READ_MOST, block_ms=block_ms)
        for _, reply in found:
            if isinstance(reply, Piece):
                self._add(reply)
            elif reply is not None:
                self._end(reply)
            self._untrimmed_bytes += len(reply.body or b"") if reply is not None else 0
        self._untrimmed += len(found)
        if found:
            self._last = found[-1][0]
        if not found or self._untrimmed >= UNTRIMMED_MOST or self._untrimmed_bytes >= UNTRIMMED_BYTES:
            self._trim()
        return len(found)

    def _trim(self) -> None:
        if self._untrimmed:
            self._ledger.trim(self._last)
            self._untrimmed = self._untrimmed_bytes = 0

    def _add(self, piece: Piece) -> None:
        call = self._book.get(piece.request_id)
        if call is None or call.stream is None or not call.is_wanted:
            return
        try:
            call.stream.add(piece)
        except StreamBroken as error:
            self._break_off(call, error)

    def _break_off(self, call: Call, error: StreamBroken) -> None:
        """Nothing more of an answer is taken; the worker is told so."""
        call.fail(error)
        call.is_abandoned = True
        self._take_back(call)

    def _end_silent(self) -> None:
        """Of an answer that has begun its worker says several times a minute that it lives."""
        now_s = time.monotonic()
        if now_s < self._silence_due_s:
            return
        self._silence_due_s = now_s + SPEAK_S
        for call in self._book.all():
            if not (call.is_wanted and call.stream is not None and call.has_begun):
                continue
            if now_s - call.stream.heard_s > STREAM_SILENT_S:
                self._break_off(call, StreamBroken("the worker was lost in the midst of the answer", attempts=1))

    def _end(self, outcome: Outcome) -> None:
        call = self._book.get(outcome.id)
        is_dropped = bool(outcome.errors) and outcome.errors[-1].code == CALLER_GONE
        if call is not None and is_dropped and call.is_wanted and not call.has_begun:
            call.is_accepted = False  # it was taken for nobody's, and was never sent
            self._send_again(call)
            return
        self._book.remove(outcome.id)
        if call is None or call.is_abandoned:
            logger.info("an answer came after its caller had gone")
        else:
            call.end(outcome)

    def _recover(self, redelivery_s: float) -> None:
        """Send again what the server doesn't know any more and has no outcome for."""
        self._last, self._untrimmed, self._untrimmed_bytes = "0", 0, 0
        self._ledger.open(begins=True)
        self._ledger.say_alive()
        self._stopping.wait(redelivery_s)
        before = [call for call in self._book.all() if call.is_accepted]
        known = {name: set(self._ledger.open_ids(name)) for name in {call.queue for call in before}}
        while self._read(None):
            pass
        for call in before:
            if call.request.id not in known[call.queue] and self._book.get(call.request.id) is call and call.is_wanted:
                self._make_good(call)
            elif call.stream is not None and call.stream.read_bytes:
                self._tell_read(call, call.stream.read_bytes)

    def _make_good(self, call: Call) -> None:
        if call.has_begun:
            self._break_off(call, StreamBroken("the broker lost the answer in its midst", attempts=1))
            return
        call.is_accepted = False
        self._send_again(call)
