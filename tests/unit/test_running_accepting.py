"""Accepting: patience with a server that is full or away, and tickets that may fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from keyfleet.contract import Request
from keyfleet.errors import JobCancelled
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.running import accepting
from keyfleet.running.accepting import Acceptor
from keyfleet.running.disk_room import DiskRoom
from keyfleet.ticket_message import NO_TICKETS, REQUESTS_PER_TICKET, Tickets, read_ticket

REQUESTS = [Request(str(number), "/v1/completions", "m", b"{}", 1) for number in range(3)]


class Broker:
    """A client and a ledger in one, which fail as they are told to."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.memory: list[dict[str, int]] = []
        self.accepted: list[Request] = []
        self.tickets = NO_TICKETS
        self.batches: list[str] = []

    def info(self, section: str) -> dict[str, Any]:
        return self.memory.pop(0) if self.memory else {"used_memory": 1, "maxmemory": 0}

    def accept(
        self,
        queue: str,
        requests: Sequence[Request],
        *,
        batch: str,
        options: Mapping[str, JobOptions] | None,
        tickets: Tickets,
    ) -> list[bool]:
        self.batches.append(batch)
        if self.failures:
            raise self.failures.pop(0)
        self.accepted += requests
        self.tickets = tickets
        return [True for _ in requests]


class Case:
    def __init__(self) -> None:
        self.broker = Broker()
        self.said: list[str] = []
        self.stopping = threading.Event()
        self.cancelled = threading.Event()
        self.free_bytes = [10**9]
        self.on_say: Callable[[str], None] = lambda reason: None
        self.acceptor = Acceptor(
            cast(redis.Redis, self.broker),
            cast(JobLedger, self.broker),
            stopping=self.stopping,
            say=self._say,
            disks=DiskRoom([Path("/somewhere")], 100_000_000, free_bytes=lambda _: self.free_bytes.pop(0)),
            on_cancelled=self.cancelled.set,
        )

    def _say(self, reason: str) -> None:
        self.said.append(reason)
        self.on_say(reason)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(accepting, "RETRY_S", 0.0)
    return Case()


@pytest.mark.parametrize(("count", "needed"), [(3, 1), (REQUESTS_PER_TICKET, 1), (REQUESTS_PER_TICKET + 1, 2)])
def test_requests_are_written_with_the_tickets_they_need(case: Case, count: int, needed: int) -> None:
    requests = [Request(str(number), "/v1/completions", "m", b"{}", 1) for number in range(count)]
    assert case.acceptor.accept("q", requests)
    assert case.broker.accepted == requests
    tickets = [read_ticket(json.loads(message)) for message in case.broker.tickets.messages]
    assert [ticket.count for ticket in tickets] == [REQUESTS_PER_TICKET] * needed


@pytest.mark.parametrize("urgent", [True, False])
def test_tickets_overtake_others_where_requests_do(case: Case, urgent: bool) -> None:
    assert case.acceptor.accept("q", [*REQUESTS, Request("4", "/v1/completions", "m", b"{}", 1, urgent=urgent)])
    assert case.broker.tickets.overtake is urgent


def test_a_server_that_is_away_is_waited_for(case: Case) -> None:
    case.broker.failures = [redis.ConnectionError("gone"), redis.TimeoutError("late")]
    assert case.acceptor.accept("q", REQUESTS)
    assert case.said == ["the broker doesn't answer"] * 2 + [""]
    assert case.broker.accepted == REQUESTS


def test_a_server_that_is_full_is_waited_for(case: Case) -> None:
    case.broker.failures = [redis.exceptions.OutOfMemoryError("command not allowed")]
    assert case.acceptor.accept("q", REQUESTS)
    assert case.said == ["the broker's memory is full", ""]


def test_nothing_is_accepted_once_memory_nears_its_limit(case: Case) -> None:
    case.broker.memory = [{"used_memory": 81, "maxmemory": 100}, {"used_memory": 79, "maxmemory": 100}]
    assert case.acceptor.accept("q", REQUESTS)
    assert case.said == ["the broker's memory is 81% full", ""]
    assert not case.broker.memory


def test_nothing_is_accepted_while_a_disk_has_too_little_room(case: Case) -> None:
    case.free_bytes = [99_999_999, 0, 100_000_000]
    assert case.acceptor.accept("q", REQUESTS)
    assert case.said == [
        "/somewhere has 99.9 MB free, less than 100 MB (KEYFLEET_MIN_FREE_DISK)",
        "/somewhere has 0 bytes free, less than 100 MB (KEYFLEET_MIN_FREE_DISK)",
        "",
    ]
    assert case.broker.accepted == REQUESTS


def test_nothing_more_is_accepted_of_a_job_that_was_cancelled(case: Case) -> None:
    case.broker.failures = [JobCancelled("it was")]
    assert not case.acceptor.accept("q", REQUESTS)
    assert case.cancelled.is_set()
    assert not case.acceptor.accept("q", REQUESTS)
    assert case.broker.accepted == []


def test_whoever_stops_ends_the_wait_and_nothing_counts_as_accepted(case: Case) -> None:
    case.broker.failures = [redis.ConnectionError("gone")] * 100
    case.on_say = lambda reason: case.stopping.set()
    assert not case.acceptor.accept("q", REQUESTS)
    assert case.broker.accepted == []


def test_a_batch_keeps_its_name_however_often_it_is_tried(case: Case) -> None:
    case.broker.failures = [redis.ConnectionError(), redis.ConnectionError()]
    assert case.acceptor.accept("q", REQUESTS)
    assert case.acceptor.accept("q", REQUESTS)
    first, second, third, other = case.broker.batches
    assert first == second == third != other
    assert first
