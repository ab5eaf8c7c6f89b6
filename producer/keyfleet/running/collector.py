"""Writes outcomes into the job's files, exactly once, and frees their room in the window."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import redis

from keyfleet.batch.formats import Row, RowMaker
from keyfleet.batch.lines import Fed
from keyfleet.batch.writer import ResultWriter
from keyfleet.broker import ServerWatch
from keyfleet.contract import CALLER_GONE, Outcome
from keyfleet.errors import DiskFull
from keyfleet.ledger import JobLedger
from keyfleet.running.job_voice import JobVoice
from keyfleet.running.local_rows import LocalRows
from keyfleet.running.tally import Tally
from keyfleet.running.unreadable import Sieve
from keyfleet.running.window import OpenRequest, Window

__all__ = ["Collector"]

logger = logging.getLogger(__name__)

READ_MOST = 500
"""Most outcomes read at once."""

READ_BYTES = 8 * 1024 * 1024
"""About how many bytes of outcomes are read at once."""

BLOCK_MS = 200
"""How long one read waits for an outcome (ms)."""

GATHER_S = 0.1
"""Least time between two writes, so that each sync to disk carries what there is (s)."""

AWAY_S = 0.5
"""Pause where the broker doesn't answer (s)."""

FULL_S = 0.5
"""Pause before writing again where the disk is full (s)."""

REDELIVERY_S = 3.0
"""After a restart of the broker, how long workers may take to deliver its last seconds again (s)."""

WIPED_LOOK_S = 2.0
"""Without any outcome for so long, look whether the server still knows the job (s)."""


class WrittenLines(Protocol):
    """Which lines have their row already."""

    def __contains__(self, number: object) -> bool: ...


class Collector:
    """A thread that reads the job's outcomes, writes them, syncs them to disk, and only then lets go of them."""

    def __init__(
        self,
        ledger: JobLedger,
        writer: ResultWriter,
        make_row: RowMaker,
        window: Window,
        tally: Tally,
        watch: ServerWatch,
        written: WrittenLines,
        *,
        fed: Callable[[], Fed],
        on_lost: Callable[[OpenRequest], None],
        on_away: Callable[[], None],
        say: Callable[[str], None],
        voice: JobVoice,
    ) -> None:
        """`fed` tells where reading stands; `on_lost` is told of requests that the server has lost; `on_away` may
        bring the server back; `say(reason)` tells what collecting waits for; with `voice` it speaks for the
        job."""
        self._ledger = ledger
        self._writer = writer
        self._make_row = make_row
        self._window = window
        self._tally = tally
        self._watch = watch
        self._written = written
        self._fed = fed
        self._on_lost = on_lost
        self._on_away = on_away
        self._say = say
        self._voice = voice
        self._local = LocalRows()
        self._sieve = Sieve(ledger)
        self._last = "0"
        self._read_most = READ_MOST
        self._wrote_s = 0.0
        self._looked_s = time.monotonic()
        self._stopping = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="keyfleet-collector", daemon=True)

    def start(self) -> None:
        """Begin to collect."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Write what was read and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def is_idle(self) -> bool:
        """Whether no row of the feeder's waits to be written."""
        return self._local.is_empty

    def put_row(self, row: Row) -> None:
        """A row that needs no outcome: a blank line's."""
        self._local.put(row, None)

    def put_outcome(self, outcome: Outcome) -> None:
        """An outcome that was found without sending anything."""
        self._local.put(self._make_row(outcome), outcome)

    def drain(self) -> None:
        """Collect what the stream holds now. For use before `start`; raises redis.RedisError."""
        while self._collect(block_ms=None):
            pass

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
            with contextlib.suppress(redis.RedisError):
                self._voice.tell_failures()
        except BaseException as error:
            self.failure = error
        finally:
            self._local.close()

    def _step(self) -> None:
        try:
            if self._watch.changed:
                self._recover()
            self._voice.speak()
            if not self._collect(block_ms=BLOCK_MS):
                self._look_for_the_job()
        except redis.RedisError as error:
            logger.info("collecting failed: %s", type(error).__name__)
            self._say("the broker doesn't answer")
            self._write([], [])
            self._on_away()
            self._stopping.wait(AWAY_S)
        else:
            self._say("")

    def _look_for_the_job(self) -> None:
        now_s = time.monotonic()
        if now_s - max(self._looked_s, self._wrote_s) < WIPED_LOOK_S:
            return
        self._looked_s = now_s
        if self._sieve.has_lost_a_name or not self._ledger.is_known():
            self._recover()
            self._sieve.has_lost_a_name = False

    def _collect(self, *, block_ms: int | None) -> int:
        """Read and write one batch; returns how many outcomes it had."""
        found = self._ledger.outcomes(self._last, count=self._read_most, block_ms=block_ms)
        wait_s = self._wrote_s + GATHER_S - time.monotonic()
        if found and block_ms is not None and len(found) < self._read_most and wait_s > 0:
            self._stopping.wait(wait_s)
            found += self._ledger.outcomes(found[-1][0], count=self._read_most)
        outcomes = self._without_dropped(self._sieve.keep([outcome for _, outcome in found]))
        rows = [self._make_row(outcome) for outcome in outcomes]
        self._write(rows, outcomes)
        if found:
            self._last = found[-1][0]
            self._ledger.trim(self._last)
            self._adapt(rows)
        return len(found)

    def _without_dropped(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Those that end a request: what was dropped since nobody seemed to wait for it any more is fed again."""
        kept = []
        for outcome in outcomes:
            if not outcome.errors or outcome.errors[-1].code != CALLER_GONE:
                kept.append(outcome)
            elif (dropped := self._window.remove(outcome.id)) is not None:
                self._on_lost(dropped)
        return kept

    def _adapt(self, rows: Sequence[Row]) -> None:
        mean_bytes = max(1, sum(len(row.data) for row in rows) // max(1, len(rows)))
        self._read_most = max(16, min(READ_MOST, READ_BYTES // mean_bytes))

    def _write(self, rows: list[Row], outcomes: list[Outcome]) -> None:
        """Make rows durable, the feeder's own among them; count each once, and free its room."""
        local = self._local.take()
        rows += [row for row, _ in local]
        outcomes += [outcome for _, outcome in local if outcome is not None]
        fresh = [outcome for outcome in outcomes if int(outcome.id) not in self._written]
        if rows:
            self._write_patiently(rows)
            self._wrote_s = time.monotonic()
        seen: set[str] = set()
        for outcome in fresh:
            if outcome.id not in seen:
                seen.add(outcome.id)
                self._tally.add(outcome)
        for outcome in outcomes:
            self._window.remove(outcome.id, len(outcome.body or b""))
        for _, refused in local:
            if refused is not None:
                self._voice.note_failure(refused)
        self._local.written(len(local))

    def _write_patiently(self, rows: list[Row]) -> None:
        """Wait for room on a disk that is full: what isn't written stays in the stream. Raises DiskFull at the end."""
        while True:
            try:
                self._writer.write(rows, self._fed())
                return
            except DiskFull as error:
                if self._stopping.wait(FULL_S):
                    raise
                self._say(str(error))
                with contextlib.suppress(redis.RedisError):
                    self._voice.speak()

    def _withdraw_written(self) -> None:
        """A server that lost its last seconds may hold again what is done: it must not be paid for twice."""
        for queue in self._ledger.queue_names():
            if done := [one for one in self._ledger.open_ids(queue) if int(one) in self._written]:
                self._ledger.withdraw(queue, done)

    def _recover(self) -> None:
        """The server was restarted or wiped and may have lost something: feed again what it doesn't know any more."""
        logger.warning("the broker was restarted or wiped; looking for what it may have lost")
        self._last = "0"  # the clock of another server may be behind, and what is written is not written twice
        try:
            self._ledger.open()
        except redis.exceptions.OutOfMemoryError:
            self.drain()  # makes room, for the next try
            raise
        self._withdraw_written()
        self._stopping.wait(REDELIVERY_S)
        before = self._window.by_queue(accepted=True)  # what the feeder is about to accept can't have been lost
        known = {name: set(self._ledger.open_ids(name)) for name in before}
        self.drain()
        for name, ids in before.items():
            for request_id in ids:
                if request_id not in known[name] and (lost := self._window.remove(request_id)) is not None:
                    self._on_lost(lost)
        self._watch.dealt_with()
