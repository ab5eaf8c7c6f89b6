"""One run from its start to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import redis

from keyfleet.batch.job import JobFiles, NothingToDo, open_job
from keyfleet.batch.job import JobOptions as FileOptions
from keyfleet.batch.parse import LineParser
from keyfleet.batch.retry_failed import RetryJob, open_retry
from keyfleet.config import Environment, KeySource, Settings
from keyfleet.errors import BrokerUnavailable
from keyfleet.running.admission import Admission, ServedModels
from keyfleet.running.blocked_models import blocked_models
from keyfleet.running.connection import open_connection
from keyfleet.running.ending import Ending
from keyfleet.running.fleet_watch import FleetWatch
from keyfleet.running.job_facts import totals_of
from keyfleet.running.keys_follower import KeysFollower
from keyfleet.running.options import RunOptions
from keyfleet.running.output_estimates import OutputEstimates
from keyfleet.running.pipeline import Pipeline
from keyfleet.running.snapshot import End, Snapshot, lines_estimate
from keyfleet.running.tally import Tally
from keyfleet.running.watchdog import Watchdog

__all__ = ["End", "RunSession", "Snapshot"]

LOOK_S = 0.1
"""Interval at which a run looks how it stands (s)."""


class RunSession:
    """Runs one job. `interrupt` may be called from a signal handler: once to end in order, twice to end at once."""

    def __init__(self, options: RunOptions, settings: Settings, env: Environment, source: KeySource | None) -> None:
        """`source` None: the keys are other hosts' business. Raises nothing; `open` does."""
        self._options = options
        self._settings = settings
        self._env = env
        self._source = source
        self._keys = KeysFollower(source, options, read_at_s=time.time()) if source is not None else None
        self._stack = ExitStack()
        self._interrupts = 0
        wanted = options.use_local_workers
        self.uses_local_workers = settings.broker_url is None if wanted is None else wanted
        self.tally = Tally()
        self.stop_reason: str | None = None

    def open(self) -> NothingToDo | None:
        """Open the files; NothingToDo where the job is done already. Raises InputError and ConfigurationError."""
        options = self._options
        files = FileOptions(options.url, options.ordered, options.limit_lines, options.overwrite, options.retry_reasons)
        opener = open_retry if options.retry_failed else open_job
        opened = opener(options.input_name, options.output, files)
        if isinstance(opened, NothingToDo):
            return opened
        self.files: JobFiles | RetryJob = opened
        self._stack.callback(opened.close)
        try:
            self._parser = LineParser(opened.format, options.url)
        except BaseException:
            self.close()
            raise
        self._stack.callback(self._parser.close)
        return None

    def connect(self) -> None:
        """Find or start the server and the workers. Raises BrokerUnavailable."""
        self._connection = open_connection(
            self._settings,
            self._options,
            self._source,
            self.files,
            self._stack,
            uses_local_workers=self.uses_local_workers,
            ends_at_once=lambda: self._interrupts > 1,
        )
        served = None
        if self.uses_local_workers and self._source is not None:
            served = ServedModels(self._source.keys, self._settings.use)
        self._admission = Admission(
            served,
            self._options.encoding_name,
            takes_full_urls=self.files.format == "bare",
            assumed_output_tokens=OutputEstimates(self._connection.client).tokens,
        )
        self._pipeline = Pipeline(
            self._options, self.files, self._parser, self._admission, self._connection, self.tally
        )
        self._fleet = FleetWatch(self._connection.client, self._connection.backend.settings.fleet)

    def run(self, show: Callable[[Snapshot], None]) -> End:
        """Run the job to its end, showing how it stands ten times a second. Raises what ends a run by force."""
        try:
            self._pipeline.go_on()
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker stopped answering at the start ({type(error).__name__})") from None
        self._pipeline.start()
        self._fleet.start()
        try:
            end = self._watch_until_end(show)
        finally:
            self._fleet.stop()
            self._pipeline.end(at_once=self._interrupts > 1)
        if end is End.DONE:
            self.files.finish(self._pipeline.fed)
            self._connection.job_is_done(totals_of(self.files.journal))
        elif self._interrupts <= 1 and not self._pipeline.notes:
            self._connection.leave_job()
        return end

    def interrupt(self) -> int:
        """Ctrl-C: returns how often by now."""
        self._interrupts += 1
        return self._interrupts

    def _watch_until_end(self, show: Callable[[Snapshot], None]) -> End:
        watchdog = Watchdog(self._settings.give_up_after_s, stop_early=self._options.stop_early)
        pause = threading.Event()
        ending: Ending | None = None
        looked_s = time.monotonic()
        while True:
            self._pipeline.raise_failure()
            self._follow_keys()
            snapshot = self.snapshot()
            show(snapshot)
            before_s, looked_s = looked_s, time.monotonic()
            if ending is None and self._pipeline.is_done():
                return End.DONE
            if self._interrupts > 1:
                return End.INTERRUPTED
            if ending is not None and ending.is_over:
                return ending.end
            if ending is None:
                self.stop_reason = self._cancel_reason() or watchdog.look(
                    snapshot, self._unusable(), looked_s - before_s
                )
                if self._interrupts or self.stop_reason:
                    ending = self._begin_to_end(End.INTERRUPTED if self._interrupts else End.STOPPED)
            pause.wait(LOOK_S)

    def _follow_keys(self) -> None:
        """The workers follow the keys file by themselves; what is taken on follows with them."""
        source = self._keys.look() if self._keys is not None else None
        if source is not None:
            self._source = source
            if self.uses_local_workers:
                self._admission.serve(ServedModels(source.keys, self._settings.use))

    def _cancel_reason(self) -> str | None:
        return "the job was cancelled (`keyfleet jobs cancel`)" if self._pipeline.is_cancelled else None

    def _begin_to_end(self, end: End) -> Ending:
        ending = Ending(
            end,
            self._connection.ledger,
            self._pipeline.window,
            stop_feeding=self._pipeline.stop_feeding,
            is_written=lambda: self._pipeline.is_written,
            are_workers_gone=self._are_workers_gone,
        )
        ending.start()
        return ending

    def _are_workers_gone(self) -> bool:
        workers = self._connection.backend.workers
        return workers.has_failed() if workers is not None else self._fleet.saw_no_worker

    def _unusable(self) -> str | None:
        """Why none of this command's own workers can do anything."""
        workers = self._connection.backend.workers
        if workers is None:
            return None
        if workers.has_failed():
            return f"the workers have ended: {workers.last_words()}"
        return self._fleet.status.all_keys_refused()

    def snapshot(self) -> Snapshot:
        """How the run stands now."""
        files, status, window = self.files, self._fleet.status, self._pipeline.window
        to_retry = files.left if isinstance(files, RetryJob) else 0
        return Snapshot(
            finished=files.finished_lines - to_retry,
            failed=files.failed_lines,
            in_window=len(window),
            set_aside=self._pipeline.set_aside,
            total_lines=lines_estimate(
                self._pipeline.fed.line_number,
                position_bytes=files.lines.position_bytes,
                total_bytes=files.lines.total_bytes,
                limit_lines=self._options.limit_lines,
            ),
            tally=self.tally,
            fleet=status,
            waits=status.waits(window.queues()),
            blocked=blocked_models(status, window.queues(), self._key_names()),
            notes=self._pipeline.notes,
            interrupted=self._interrupts > 0,
        )

    def _key_names(self) -> tuple[str, ...]:
        """The keys that this run's own workers serve, where it has some."""
        return tuple(key.name for key in self._source.keys) if self.uses_local_workers and self._source else ()

    def close(self) -> None:
        """Give back files, workers and server, in this order reversed."""
        self._stack.close()
