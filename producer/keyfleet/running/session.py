"""One run from its start to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from keyfleet.batch.job import JobFiles, NothingToDo, open_job
from keyfleet.batch.job import JobOptions as FileOptions
from keyfleet.batch.packing import Packing
from keyfleet.batch.parse import LineParser
from keyfleet.batch.retry_failed import RetryJob, open_retry
from keyfleet.config import Environment, KeySource, Settings
from keyfleet.running.admission import Admission
from keyfleet.running.connection import open_connection
from keyfleet.running.fleet_watch import FleetWatch
from keyfleet.running.job_run import JobRun, JobView
from keyfleet.running.keys_follower import KeysFollower
from keyfleet.running.options import RunOptions
from keyfleet.running.output_estimates import OutputEstimates
from keyfleet.running.pipeline import Feeding, Pipeline
from keyfleet.running.served_models import ServedModels
from keyfleet.running.snapshot import End, Snapshot
from keyfleet.running.tally import Tally
from keyfleet.running.watchdog import Watchdog

__all__ = ["End", "RunSession", "Snapshot"]


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
            packing=self._packing(),
        )
        feeding = Feeding(limit_lines=self._options.limit_lines)
        self._pipeline = Pipeline(feeding, self.files, self._parser, self._admission, self._connection, self.tally)
        self._fleet = FleetWatch(self._connection.client, self._connection.backend.settings.fleet)
        self._watchdog = Watchdog(self._settings.give_up_after_s, stop_early=self._options.stop_early)
        view = JobView(self.files, self._pipeline, self._fleet, self.tally, key_names=self._key_names)
        self._job = JobRun(view, self._connection, look=self._look, interrupts=lambda: self._interrupts)

    def _packing(self) -> Packing | None:
        most_inputs = self._options.pack_inputs
        return Packing(self.files.job_id, most_inputs) if most_inputs is not None else None

    def run(self, show: Callable[[Snapshot], None]) -> End:
        """Run the job to its end, showing how it stands ten times a second. Raises what ends a run by force."""
        return self._job.run(show)

    @property
    def stop_reason(self) -> str | None:
        """Why the job was stopped, where it was."""
        return self._job.stop_reason

    def interrupt(self) -> int:
        """Ctrl-C: returns how often by now."""
        self._interrupts += 1
        return self._interrupts

    def _look(self, snapshot: Snapshot, tick_s: float) -> str | None:
        """Why to stop now."""
        self._follow_keys()
        return self._cancel_reason() or self._watchdog.look(snapshot, self._unusable(), tick_s)

    def _follow_keys(self) -> None:
        """The workers follow the keys file by themselves; what is taken on follows with them."""
        source = self._keys.look() if self._keys is not None else None
        if source is not None:
            self._source = source
            if self.uses_local_workers:
                self._admission.serve(ServedModels(source.keys, self._settings.use))

    def _cancel_reason(self) -> str | None:
        return "the job was cancelled (`keyfleet jobs cancel`)" if self._pipeline.is_cancelled else None

    def _unusable(self) -> str | None:
        """Why none of this command's own workers can do anything."""
        workers = self._connection.backend.workers
        if workers is None:
            return None
        if workers.has_failed():
            return f"the workers have ended: {workers.last_words()}"
        return self._fleet.status.all_keys_refused()

    def _key_names(self) -> tuple[str, ...]:
        """The keys that this run's own workers serve, where it has some."""
        return tuple(key.name for key in self._source.keys) if self.uses_local_workers and self._source else ()

    def close(self) -> None:
        """Give back files, workers and server, in this order reversed."""
        self._stack.close()
