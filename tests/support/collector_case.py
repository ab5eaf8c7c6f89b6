"""A collector with everything around it made up: the job's stream, the files, and a server that loses things."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import cast

import redis

from keyfleet.batch.formats import Row
from keyfleet.batch.lines import Fed
from keyfleet.batch.writer import ResultWriter
from keyfleet.broker import ServerWatch
from keyfleet.contract import AttemptError, Outcome
from keyfleet.ledger import JobLedger, ProducerWord, Withdrawn
from keyfleet.running.collector import Collector
from keyfleet.running.job_voice import JobVoice
from keyfleet.running.tally import Tally
from keyfleet.running.window import OpenRequest, Window

__all__ = ["CollectorCase", "outcome"]


def outcome(number: int, ok: bool = True) -> Outcome:
    errors = () if ok else (AttemptError(400, "bad", "it is"),)
    return Outcome(str(number), ok, 200 if ok else 400, b"{}", 1, errors=errors, key_name="one")


def make_row(found: Outcome) -> Row:
    return Row(int(found.id), not found.ok, f"{found.id}\n".encode())


class Ledger:
    """A job's stream and its open requests, on a server that can be away, full, or have lost something."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self.entries: list[tuple[int, Outcome]] = []
        self.trimmed = 0
        self.open_requests: set[str] = set()
        self.withdrawn: list[str] = []
        self.is_opened = 0
        self.failures: list[Exception] = []
        self.is_full = False
        """Whether opening the job needs memory that only trimming gives."""
        self.trim_failures: list[Exception] = []
        self.known = True
        self.word = ProducerWord.OPEN
        self.noted: list[tuple[str, int, str]] = []
        self.written_at_trim: list[set[int]] = []
        self.writer: Writer | None = None

    def say(self, *outcomes: Outcome, first: int | None = None) -> None:
        with self._lock:
            for found in outcomes:
                number = first if first is not None else (self.entries[-1][0] if self.entries else self.trimmed) + 1
                self.entries.append((number, found))
            self._lock.notify_all()

    def open(self) -> None:
        if self.is_full and self.entries:
            raise redis.exceptions.OutOfMemoryError("full")
        self.is_opened += 1
        self.known = True

    def say_alive(self, *, total: int | None = None) -> ProducerWord:
        return self.word

    def note_failures(self, groups: Sequence[tuple[str, int, str]]) -> None:
        self.noted += groups

    def is_known(self) -> bool:
        return self.known

    def queue_names(self) -> list[str]:
        return ["q"]

    def open_ids(self, queue: str) -> Iterator[str]:
        return iter(sorted(self.open_requests))

    def withdraw(self, queue: str, ids: Sequence[str]) -> list[Withdrawn]:
        self.withdrawn += ids
        self.open_requests -= set(ids)
        return [Withdrawn.WITHDRAWN] * len(ids)

    def outcomes(self, after: str, *, count: int, block_ms: int | None = None) -> list[tuple[str, Outcome]]:
        behind = int(after.partition("-")[0])
        with self._lock:
            if self.failures:
                raise self.failures.pop(0)
            found = [(f"{number}-0", one) for number, one in self.entries if number > behind]
            if not found and block_ms is not None:
                self._lock.wait(0.005)
            return found[:count]

    def trim(self, through: str) -> None:
        if self.trim_failures:
            raise self.trim_failures.pop(0)
        with self._lock:
            self.trimmed = int(through.partition("-")[0])
            self.entries = [entry for entry in self.entries if entry[0] > self.trimmed]
            if self.writer is not None:
                self.written_at_trim.append({row.line_number for row in self.writer.rows})


class Writer:
    """Takes rows as a result writer does: a second one of a line is dropped."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.numbers: set[object] = set()
        self.failure: Exception | None = None
        self.failures: list[Exception] = []
        self.held = threading.Event()
        self.held.set()

    def __contains__(self, number: object) -> bool:
        return number in self.numbers

    def write(self, rows: list[Row], fed: Fed) -> int:
        self.held.wait(30.0)
        if self.failure is not None:
            raise self.failure
        if self.failures:
            raise self.failures.pop(0)
        fresh = list({row.line_number: row for row in reversed(rows) if row.line_number not in self.numbers}.values())
        self.rows += reversed(fresh)
        self.numbers |= {row.line_number for row in fresh}
        return len(fresh)

    def written(self) -> list[int]:
        return [row.line_number for row in self.rows]


class CollectorCase:
    def __init__(self) -> None:
        self.ledger = Ledger()
        self.writer = Writer()
        self.ledger.writer = self.writer
        self.window = Window()
        self.tally = Tally()
        self.watch = ServerWatch()
        self.lost: list[OpenRequest] = []
        self.away = threading.Event()
        self.cancelled = threading.Event()
        self.said: list[str] = []
        self.collector = Collector(
            cast(JobLedger, self.ledger),
            cast(ResultWriter, self.writer),
            make_row,
            self.window,
            self.tally,
            self.watch,
            self.writer,
            fed=lambda: Fed(0, 0, ""),
            on_lost=self.lost.append,
            on_away=self.away.set,
            say=self.said.append,
            voice=JobVoice(cast(JobLedger, self.ledger), self.cancelled.set),
        )

    def under_way(self, *numbers: int) -> None:
        for number in numbers:
            self.window.add(str(number), OpenRequest("q", number))
            self.ledger.open_requests.add(str(number))

    def finish(self, *numbers: int) -> None:
        self.ledger.open_requests -= {str(number) for number in numbers}
        self.ledger.say(*(outcome(number) for number in numbers))

    def change_server(self) -> None:
        """As a new connection to a restarted server does."""
        self.watch._changed.set()
