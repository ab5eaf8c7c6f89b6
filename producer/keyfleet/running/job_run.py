"""One job from its first line to its last row, whoever runs it: a command or a program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import redis

from keyfleet.batch.job import JobFiles
from keyfleet.batch.retry_failed import RetryJob
from keyfleet.errors import BrokerUnavailable
from keyfleet.running.blocked_models import blocked_models
from keyfleet.running.connection import Connection
from keyfleet.running.ending import Ending
from keyfleet.running.fleet_watch import FleetWatch
from keyfleet.running.job_facts import totals_of
from keyfleet.running.pipeline import Pipeline
from keyfleet.running.snapshot import End, Snapshot
from keyfleet.running.tally import Tally

__all__ = ["JobRun", "JobView"]

LOOK_S = 0.1
"""Interval at which a run looks how it stands (s)."""


class JobView:
    """How a job stands, from all that has a part in it."""

    def __init__(
        self,
        files: JobFiles | RetryJob,
        pipeline: Pipeline,
        fleet: FleetWatch,
        tally: Tally,
        *,
        key_names: Callable[[], tuple[str, ...]],
    ) -> None:
        """`key_names` are the keys that the job's own workers serve."""
        self.files = files
        self.pipeline = pipeline
        self.fleet = fleet
        self.tally = tally
        self._key_names = key_names

    def snapshot(self, *, interrupted: bool) -> Snapshot:
        """How the job stands now."""
        files, status, window = self.files, self.fleet.status, self.pipeline.window
        to_retry = files.left if isinstance(files, RetryJob) else 0
        return Snapshot(
            finished=files.finished_lines - to_retry,
            failed=files.failed_lines,
            in_window=len(window),
            set_aside=self.pipeline.set_aside,
            total_lines=self.pipeline.total_lines,
            tally=self.tally,
            fleet=status,
            waits=status.waits(window.queues()),
            blocked=blocked_models(status, window.queues(), self._key_names()),
            notes=self.pipeline.notes,
            interrupted=interrupted,
            is_paused=self.pipeline.is_paused,
        )


class JobRun:
    """Runs one job."""

    def __init__(
        self,
        view: JobView,
        connection: Connection,
        *,
        look: Callable[[Snapshot, float], str | None],
        interrupts: Callable[[], int],
        feeds: bool = True,
        is_patient: Callable[[], bool] = lambda: False,
    ) -> None:
        """`look(snapshot, tick_s)` is asked ten times a second why to stop now, `tick_s` after the last time.
        `interrupts` tells how often somebody has interrupted it: once to end in order, twice to end at once.
        `feeds` False: it only collects what was accepted before. `is_patient`: its end waits for a broker that is
        away."""
        self._view = view
        self._files = view.files
        self._pipeline = view.pipeline
        self._fleet = view.fleet
        self._connection = connection
        self._look = look
        self._interrupts = interrupts
        self._feeds = feeds
        self._is_patient = is_patient
        self.stop_reason: str | None = None
        self.is_settled = False
        """Whether it ended before its end with nothing under way and everything written that came."""

    def run(self, show: Callable[[Snapshot], None]) -> End:
        """Run the job to its end, showing how it stands ten times a second. Raises what ends a run by force."""
        try:
            self._pipeline.go_on()
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker stopped answering at the start ({type(error).__name__})") from None
        self._pipeline.start(feeds=self._feeds)
        self._fleet.start()
        try:
            end = self._watch_until_end(show)
        finally:
            self._fleet.stop()
            self._pipeline.end(at_once=self._interrupts() > 1)
        if end is End.DONE:
            self._files.finish(self._pipeline.fed)
            self._connection.job_is_done(totals_of(self._files.journal))
        elif self._interrupts() <= 1 and not self._pipeline.notes:
            self._connection.leave_job()
        return end

    def _watch_until_end(self, show: Callable[[Snapshot], None]) -> End:
        pause = threading.Event()
        ending: Ending | None = None
        looked_s = time.monotonic()
        while True:
            self._pipeline.raise_failure()
            snapshot = self._view.snapshot(interrupted=self._interrupts() > 0)
            show(snapshot)
            before_s, looked_s = looked_s, time.monotonic()
            if ending is None and self._pipeline.is_done():
                return End.DONE
            if self._interrupts() > 1:
                return End.INTERRUPTED
            if ending is not None and ending.is_over:
                self.is_settled = ending.is_settled
                return ending.end
            if ending is None:
                self.stop_reason = self._look(snapshot, looked_s - before_s)
                if self._interrupts() or self.stop_reason:
                    ending = self._begin_to_end(End.INTERRUPTED if self._interrupts() else End.STOPPED)
            pause.wait(LOOK_S)

    def _begin_to_end(self, end: End) -> Ending:
        ending = Ending(
            end,
            self._connection.ledger,
            self._pipeline.window,
            stop_feeding=self._pipeline.stop_feeding,
            is_written=lambda: self._pipeline.is_written,
            are_workers_gone=self._are_workers_gone,
            is_patient=self._is_patient,
        )
        ending.start()
        return ending

    def _are_workers_gone(self) -> bool:
        workers = self._connection.backend.workers
        return workers.has_failed() if workers is not None else self._fleet.saw_no_worker
