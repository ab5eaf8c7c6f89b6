"""The threads that carry a run's lines: one that feeds, one that collects."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from keyfleet.batch.formats import invalid_outcome, row_maker
from keyfleet.batch.job import JobFiles
from keyfleet.batch.lines import Fed, InputLine, InputLines, open_input
from keyfleet.batch.parse import LineParser
from keyfleet.batch.retry_failed import RetryJob
from keyfleet.contract import Outcome
from keyfleet.errors import BrokerUnavailable, InputError, InvalidRequest
from keyfleet.running.accepting import Acceptor
from keyfleet.running.collector import Collector
from keyfleet.running.connection import Connection
from keyfleet.running.disk_room import DiskRoom
from keyfleet.running.feeder import ASIDE_BYTES, Admits, Feeder
from keyfleet.running.job_voice import JobVoice
from keyfleet.running.snapshot import lines_estimate
from keyfleet.running.tally import Tally
from keyfleet.running.window import WINDOW_REQUESTS, OpenRequest, Window

__all__ = ["Feeding", "Pipeline"]

FEEDER_END_S = 5.0
COLLECTOR_END_S = 10.0
"""How long the threads may take to end (s)."""

AT_ONCE_S = 1.0
"""How long they may take where the run is to end at once (s)."""


@dataclass(frozen=True, slots=True)
class Feeding:
    """How a job is fed. `window` is the most requests of one queue under way, `aside_bytes` the most that is set aside
    of lines that wait for room in it. `before_accept` is called before lines are accepted. `outcome_of_invalid` ends
    a line that can't be sent. `total_lines` None: estimated from the input."""

    limit_lines: int | None = None
    window: int = WINDOW_REQUESTS
    aside_bytes: int = ASIDE_BYTES
    before_accept: Callable[[], None] = lambda: None
    outcome_of_invalid: Callable[[InputLine, InvalidRequest], Outcome] = invalid_outcome
    total_lines: Callable[[], int | None] | None = None


class Pipeline:
    """Everything between a job's files and its place in the ledger. `go_on`, then `start`, and `end` at last."""

    def __init__(
        self,
        feeding: Feeding,
        files: JobFiles | RetryJob,
        parser: LineParser,
        admission: Admits,
        connection: Connection,
        tally: Tally,
    ) -> None:
        self._feeding = feeding
        self._files = files
        self._parser = parser
        self._admission = admission
        self._connection = connection
        self._stack = ExitStack()
        self._notes: dict[str, str] = {}
        self._feeder: Feeder | None = None
        self._stop_feeding = threading.Event()
        self._cancelled = threading.Event()
        self.window = Window(requests=feeding.window)
        self._voice = JobVoice(connection.ledger, self._cancelled.set, self._own_total)
        self._collector = Collector(
            connection.ledger,
            files.writer,
            row_maker(files.format, files.row_job_id),
            self.window,
            tally,
            connection.watch,
            files.written,
            fed=lambda: self.fed,
            on_lost=self._feed_again,
            on_away=self._bring_server_back,
            say=lambda reason: self._note("collecting", reason),
            voice=self._voice,
        )

    def go_on(self) -> None:
        """What earlier runs have accepted is under way, or its outcome is in the stream, which is read next.

        Raises redis.RedisError.
        """
        ledger = self._connection.ledger
        written = self._files.own_state
        failed = written.failed_lines
        ledger.open(begins=True, succeeded=written.finished_lines - failed, failed=failed)
        for queue in ledger.queue_names():
            done = []
            for request_id in ledger.open_ids(queue):
                if self._files.wants(int(request_id)):
                    self.window.add(request_id, OpenRequest(queue, 0))
                else:
                    done.append(request_id)
            if done:  # a server that lost its last seconds has them again; sent once more, they would be paid for twice
                ledger.withdraw(queue, done)
        self._collector.drain()

    def start(self, *, feeds: bool = True) -> None:
        """Begin to feed, unless only what was accepted before is wanted, and to collect."""
        if feeds:
            self._start_feeding(self._files.lines)
        self._collector.start()

    def _start_feeding(self, lines: InputLines) -> None:
        stopping = self._stop_feeding = threading.Event()
        acceptor = Acceptor(
            self._connection.client,
            self._connection.ledger,
            stopping=stopping,
            say=lambda reason: self._note("accepting", reason),
            disks=self._disks(),
            on_cancelled=self._cancelled.set,
        )
        self._feeder = Feeder(
            lines,
            self._parser,
            self._admission,
            acceptor,
            self.window,
            self._files,
            on_invalid=self._on_invalid,
            on_row=self._collector.put_row,
            lookahead_end=lambda: self._files.writer.lookahead_end,
            limit_lines=self._feeding.limit_lines,
            stopping=stopping,
            aside_bytes=self._feeding.aside_bytes,
            before_accept=self._feeding.before_accept,
        )
        self._feeder.start()

    def _disks(self) -> DiskRoom:
        """The output's, and the state's where the server or the workers of this run write there."""
        backend = self._connection.backend
        settings = backend.settings
        directories = [self._files.paths.output.absolute().parent]
        if backend.server is not None or backend.workers is not None:
            directories.append(settings.state_dir)
        return DiskRoom(directories, settings.min_free_disk_bytes)

    def stop_feeding(self, timeout_s: float = FEEDER_END_S) -> None:
        """Feed no more."""
        self._stop_feeding.set()
        if self._feeder is not None:
            self._feeder.join(timeout_s)

    def end(self, *, at_once: bool = False) -> None:
        """Write what was read and end both threads, as far as they end in time."""
        self.stop_feeding(AT_ONCE_S if at_once else FEEDER_END_S)
        self._collector.stop(AT_ONCE_S if at_once else COLLECTOR_END_S)
        self._stack.close()

    def raise_failure(self) -> None:
        """Raise what has ended a thread, if anything has."""
        for part in (self._feeder, self._collector):
            if part is not None and part.failure is not None:
                raise part.failure

    @property
    def fed(self) -> Fed:
        """Where reading stands."""
        return self._feeder.fed if self._feeder is not None else self._files.journal.state.fed

    @property
    def set_aside(self) -> int:
        """Lines that wait for room in the window."""
        return self._feeder.set_aside if self._feeder is not None else 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the threads wait for, in words."""
        return tuple(self._notes.values())

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has cancelled the job since it began to run here."""
        return self._cancelled.is_set()

    @property
    def is_paused(self) -> bool:
        """Whether somebody has paused the job."""
        return self._voice.is_paused

    @property
    def total_lines(self) -> int | None:
        """About how many lines are to be run; None for a stream."""
        if self._feeding.total_lines is not None:
            return self._feeding.total_lines()
        lines = self._files.lines
        return lines_estimate(
            self.fed.line_number,
            position_bytes=lines.position_bytes,
            total_bytes=lines.total_bytes,
            limit_lines=self._feeding.limit_lines,
        )

    def _own_total(self) -> int | None:
        """The lines of the job that the ledger knows; a retry has but some of its file's."""
        return None if isinstance(self._files, RetryJob) else self.total_lines

    @property
    def is_written(self) -> bool:
        """Whether no row waits to be written."""
        return self._collector.is_idle

    def is_done(self) -> bool:
        """Whether every line has its row. Where one was lost on the way, the input is read once more.

        Raises InputError where it can't be.
        """
        if self._feeder is None or not self._feeder.is_done or len(self.window) or not self.is_written:
            return False
        numbers = self._files.written.missing(self.fed.line_number)
        missing = next((number for number in numbers if self._files.wants(number)), None)
        if missing is None:
            return True
        if self.is_cancelled:
            return False
        if not self._files.lines.resumable:
            raise InputError(f"line {missing} was lost with the broker, and a stream can't be read again")
        self.stop_feeding()
        self._start_feeding(self._stack.enter_context(open_input(self._files.lines.name)))
        return False

    def _on_invalid(self, line: InputLine, error: InvalidRequest) -> None:
        self.put_outcome(self._feeding.outcome_of_invalid(line, error))

    def put_outcome(self, outcome: Outcome) -> None:
        """End a request without a worker: its row is written with the next ones."""
        self._collector.put_outcome(outcome)

    def _feed_again(self, lost: OpenRequest) -> None:
        if lost.line is not None and self._feeder is not None:
            self._feeder.feed_again(lost.queue, lost.line)

    def _note(self, who: str, reason: str) -> None:
        if reason:
            self._notes[who] = reason
        else:
            self._notes.pop(who, None)

    def _bring_server_back(self) -> None:
        try:
            self._connection.backend.bring_server_back()
        except BrokerUnavailable as error:
            self._note("server", str(error))
        else:
            self._note("server", "")
