"""One run from its start to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum

import redis

from keyfleet.batch.endpoints import split_url
from keyfleet.batch.formats import invalid_outcome, row_maker
from keyfleet.batch.job import JobFiles, NothingToDo, open_job
from keyfleet.batch.job import JobOptions as FileOptions
from keyfleet.batch.lines import Fed, InputLine, InputLines, open_input
from keyfleet.batch.parse import LineParser
from keyfleet.batch.retry_failed import RetryJob, open_retry
from keyfleet.broker import ServerWatch, celery_url, check_server, connect
from keyfleet.config import Environment, KeySource, Settings
from keyfleet.embedded import EmbeddedServer
from keyfleet.errors import BrokerUnavailable, InputError, InvalidRequest
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.running.accepting import Acceptor
from keyfleet.running.admission import Admission, ServedModels
from keyfleet.running.collector import Collector
from keyfleet.running.feeder import Feeder
from keyfleet.running.fleet_status import FleetStatus, read_fleet_status
from keyfleet.running.local_workers import LocalWorkers
from keyfleet.running.options import RunOptions
from keyfleet.running.tally import Tally
from keyfleet.running.watchdog import Watchdog
from keyfleet.running.window import OpenRequest, Window
from keyfleet.tickets import TicketOffice, make_app

__all__ = ["End", "RunSession", "Snapshot"]

logger = logging.getLogger(__name__)

LOOK_S = 0.1
"""Interval at which a run looks how it stands (s)."""

STATUS_S = 1.0
"""Interval of reading the workers' status (s)."""

WITHDRAW_AT_ONCE = 500
"""Requests taken back in one round trip when a run is interrupted."""


class End(Enum):
    """How a run ended; the value is its exit code (0 and 1 are told apart by the job's failures)."""

    DONE = 0
    STOPPED = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a run stands, for those who show it. `position` and `total_bytes` are those of the input file."""

    finished: int
    failed: int
    in_window: int
    set_aside: int
    position_bytes: int
    total_bytes: int | None
    tally: Tally
    fleet: FleetStatus
    waits: dict[str, int]
    notes: tuple[str, ...]
    interrupted: bool


class RunSession:
    """Runs one job. `interrupt` may be called from a signal handler: once to end in order, twice to end at once."""

    def __init__(self, options: RunOptions, settings: Settings, env: Environment, source: KeySource | None) -> None:
        """`source` None: the keys are other hosts' business. Raises nothing; `open` does."""
        self._options = options
        self._settings = settings
        self._env = env
        self._source = source
        self._stack = ExitStack()
        self._stop_feeding = threading.Event()
        self._interrupts = 0
        self._notes: dict[str, str] = {}
        self._fleet_status = FleetStatus()
        wanted = options.use_local_workers
        self.uses_local_workers = settings.broker_url is None if wanted is None else wanted
        self.tally = Tally()
        self.stop_reason: str | None = None

    def open(self) -> NothingToDo | None:
        """Open the files; NothingToDo where the job is done already. Raises InputError and ConfigurationError."""
        options = self._options
        files = FileOptions(options.url, options.ordered, options.limit_lines, options.overwrite)
        opener = open_retry if options.retry_failed else open_job
        opened = opener(options.input_name, options.output, files)
        if isinstance(opened, NothingToDo):
            return opened
        self.files: JobFiles | RetryJob = opened
        self._stack.callback(opened.close)
        self._parser = LineParser(opened.format, options.url)
        self._stack.callback(self._parser.close)
        return None

    def connect(self) -> None:
        """Find or start the server and the workers. Raises BrokerUnavailable."""
        settings = self._settings
        url = settings.broker_url
        self._server: EmbeddedServer | None = None
        if url is None:
            self._server = self._stack.enter_context(EmbeddedServer(settings.state_dir))
            url = self._server.url
            settings = self._settings = replace(settings, broker_url=url, fleet=f"run-{self.files.job_id[:24]}")
        self._watch = ServerWatch()
        self._client = connect(url, watch=self._watch)
        self._stack.callback(self._client.close)
        check_server(self._client, url)
        self._workers: LocalWorkers | None = None
        if self.uses_local_workers:
            self._start_workers(url)
        job_options = JobOptions(
            max_attempts=settings.max_attempts,
            timeout_s=settings.timeout_s,
            timeout_attempts=settings.timeout_attempts,
            echo=self.files.format == "bare",
        )
        self._ledger = JobLedger(self._client, settings.fleet, self.files.job_id, job_options)
        self._tickets = TicketOffice(make_app(celery_url(url), settings.fleet))
        self._stack.callback(self._tickets.close)
        self._window = Window()

    def _start_workers(self, url: str) -> None:
        settings, options = self._settings, self._options
        self._workers = LocalWorkers(settings.state_dir / "logs" / f"workers-{self.files.job_id[:24]}.log")
        workers = self._workers
        self._stack.callback(lambda: workers.stop(at_once=self._interrupts > 1))
        arguments = ["--fleet", settings.fleet, "--use", f"{settings.use * 100:.6g}%"]
        arguments += ["--log-level", str(max(settings.log_level, logging.INFO))]
        if concurrency := self._concurrency_per_key():
            arguments += ["--concurrency", str(concurrency)]
        if self._source is not None and self._source.path is not None:
            arguments += ["--keys", str(self._source.path)]
        base_url = split_url(options.url)[0] if options.url else None
        if base_url:
            arguments += ["--base-url", base_url]
        for name, limit in (
            ("--requests-per-minute", options.requests_per_minute),
            ("--tokens-per-minute", options.tokens_per_minute),
        ):
            if limit is not None:
                arguments += [name, str(limit)]
        inherit = [self._server.lock_descriptor] if self._server else []
        self._workers.start(arguments, {"KEYFLEET_BROKER_URL": url}, inherit)

    def _concurrency_per_key(self) -> int | None:
        """Most calls of one key, so that all keys together keep to the bound of this host, where there is one."""
        settings = self._settings
        if settings.max_calls is None or self._source is None:
            return settings.concurrency
        workers = sum(key.workers for key in self._source.keys)
        share = max(1, settings.max_calls // workers)
        return share if settings.concurrency is None else min(share, settings.concurrency)

    def run(self, show: Callable[[Snapshot], None]) -> End:
        """Run the job to its end, showing how it stands ten times a second. Raises what ends a run by force."""
        self._ledger.open()
        self._collector = self._make_collector()
        self._register_open_requests()
        self._collector.drain()
        self._feeder = self._make_feeder(self.files.lines)
        self._collector.start()
        self._feeder.start()
        watchdog = Watchdog(self._settings.give_up_after_s, stop_early=self._options.stop_early)
        try:
            end = self._watch_until_end(show, watchdog)
        finally:
            self._stop_feeding.set()
            self._feeder.join(5.0)
            self._collector.stop(10.0)
        if end is End.DONE:
            self._finish()
        return end

    def _finish(self) -> None:
        self.files.finish(self._feeder.fed)
        self._ledger.close()
        if self._server is not None:
            self._forget_fleet()

    def _forget_fleet(self) -> None:
        """The embedded server keeps nothing of a run that is done. The workers may still write; that expires."""
        pattern = f"{{keyfleet}}:{self._settings.fleet}:*"
        if keys := list(self._client.scan_iter(match=pattern, count=1000)):
            self._client.unlink(*keys)

    def _make_collector(self) -> Collector:
        make_row = row_maker(self.files.format, self.files.row_job_id)
        return Collector(
            self._ledger,
            self.files.writer,
            make_row,
            self._window,
            self.tally,
            self._watch,
            self.files.written,
            fed=self._fed,
            on_lost=self._feed_again,
            on_away=self._bring_server_back,
            say=lambda reason: self._note("collecting", reason),
        )

    def _make_feeder(self, lines: InputLines) -> Feeder:
        served = None
        if self.uses_local_workers and self._source is not None:
            served = ServedModels(self._source.keys, self._settings.use)
        acceptor = Acceptor(
            self._client,
            self._ledger,
            self._tickets,
            stopping=self._stop_feeding,
            say=lambda reason: self._note("accepting", reason),
        )
        return Feeder(
            lines,
            self._parser,
            Admission(served, self._options.encoding_name, takes_full_urls=self.files.format == "bare"),
            acceptor,
            self._window,
            self.files,
            on_invalid=self._on_invalid,
            on_row=self._collector.put_row,
            lookahead_end=lambda: self.files.writer.lookahead_end,
            limit_lines=self._options.limit_lines,
            stopping=self._stop_feeding,
        )

    def _fed(self) -> Fed:
        feeder = getattr(self, "_feeder", None)
        return feeder.fed if feeder is not None else self.files.journal.state.fed

    def _on_invalid(self, line: InputLine, error: InvalidRequest) -> None:
        self._collector.put_outcome(invalid_outcome(line, error))

    def _feed_again(self, lost: OpenRequest) -> None:
        if lost.line is not None:
            self._feeder.feed_again(lost.queue, lost.line)

    def _note(self, who: str, reason: str) -> None:
        if reason:
            self._notes[who] = reason
        else:
            self._notes.pop(who, None)

    def _bring_server_back(self) -> None:
        if self._server is not None:
            try:
                self._server.restart_if_down()
            except BrokerUnavailable as error:
                self._note("server", str(error))

    def _register_open_requests(self) -> None:
        """What earlier runs have accepted is under way, or its outcome is in the stream, which is read next."""
        for queue in self._ledger.queue_names():
            for request_id in self._ledger.open_ids(queue):
                if self.files.wants(int(request_id)):
                    self._window.add(request_id, OpenRequest(queue, 0))

    def interrupt(self) -> int:
        """Ctrl-C: returns how often by now."""
        self._interrupts += 1
        return self._interrupts

    def _watch_until_end(self, show: Callable[[Snapshot], None], watchdog: Watchdog) -> End:
        pause = threading.Event()
        looks = 0
        stopping_as: End | None = None
        while True:
            self._raise_failures()
            if looks % round(STATUS_S / LOOK_S) == 0:
                self._read_fleet_status()
            looks += 1
            snapshot = self.snapshot()
            show(snapshot)
            if stopping_as is None and self._is_done():
                return End.DONE
            if self._interrupts > 1:
                return End.INTERRUPTED
            if stopping_as is not None and not len(self._window) and self._collector.is_idle:
                return stopping_as
            if stopping_as is None and self._interrupts:
                stopping_as = End.INTERRUPTED
                self._stop_in_order()
            elif stopping_as is None and (reason := watchdog.look(snapshot, self._unusable(), LOOK_S)):
                self.stop_reason = reason
                stopping_as = End.STOPPED
                self._stop_in_order()
            pause.wait(LOOK_S)

    def _unusable(self) -> str | None:
        if not self.uses_local_workers:
            return None
        if self._workers is not None and self._workers.has_failed():
            return f"the workers have ended: {self._workers.last_words()}"
        return self._fleet_status.all_keys_unusable(set(self._window.by_queue()))

    def _is_done(self) -> bool:
        if not self._feeder.is_done or len(self._window) or not self._collector.is_idle:
            return False
        missing = self._first_missing()
        if missing is None:
            return True
        if not self.files.lines.resumable:
            raise InputError(f"line {missing} was lost with the broker, and a stream can't be read again")
        self._feeder = self._make_feeder(open_input(self._options.input_name))
        self._feeder.start()
        return False

    def _first_missing(self) -> int | None:
        last = self._feeder.fed.line_number
        numbers = self.files.written.missing(last)
        return next((number for number in numbers if self.files.wants(number)), None)

    def _stop_in_order(self) -> None:
        """Feed no more, and take back what no worker holds: it is fed again when the run is resumed."""
        self._stop_feeding.set()
        self._feeder.join(10.0)
        try:
            for queue, ids in self._window.by_queue().items():
                for start in range(0, len(ids), WITHDRAW_AT_ONCE):
                    part = ids[start : start + WITHDRAW_AT_ONCE]
                    for request_id, withdrawn in zip(part, self._ledger.withdraw(queue, part), strict=True):
                        if withdrawn:
                            self._window.remove(request_id)
        except redis.RedisError:
            logger.warning("the broker doesn't answer; what is waiting there stays until the run is resumed")
            self._interrupts += 1

    def _read_fleet_status(self) -> None:
        try:
            self._fleet_status = read_fleet_status(self._client, self._settings.fleet)
        except redis.RedisError:
            self._fleet_status = FleetStatus()

    def _raise_failures(self) -> None:
        for part in (self._feeder, self._collector):
            if part.failure is not None:
                raise part.failure

    def snapshot(self) -> Snapshot:
        """How the run stands now."""
        lines = self.files.lines
        queues = set(self._window.by_queue()) if len(self._window) else set()
        return Snapshot(
            finished=self.files.finished_lines,
            failed=self.files.failed_lines,
            in_window=len(self._window),
            set_aside=self._feeder.set_aside,
            position_bytes=lines.position_bytes,
            total_bytes=lines.total_bytes,
            tally=self.tally,
            fleet=self._fleet_status,
            waits=self._fleet_status.waits(queues),
            notes=tuple(self._notes.values()),
            interrupted=self._interrupts > 0,
        )

    def close(self) -> None:
        """Give back files, workers and server, in this order reversed."""
        self._stack.close()
