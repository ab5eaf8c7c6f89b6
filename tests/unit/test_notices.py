"""Hearing of urgent requests, and of calls that nobody waits for, on a stand-in server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions, Transitions, Withdrawal, Withdrawn
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.notices import Notices
from support.events import wait_until

if TYPE_CHECKING:
    from support.stand_in import StandIn

FLEET, QUEUE = "f", "org%2Fmodel"


class Heard:
    """A watch, and what it was told."""

    def __init__(self, client: redis.Redis, waiting: Sequence[str] = ()) -> None:
        self.client = client
        self.ledger = JobLedger(client, FLEET, "job", JobOptions(), declare_flags=False)
        self.queues: list[str] = []
        self.waiting = waiting
        self.stopping = threading.Event()
        self.stopped: list[tuple[str, str]] = []
        Notices(
            *(client, FLEET),
            hurry=self.queues.append,
            waiting=lambda: self.waiting,
            stop_call=lambda queue, request: self.stopped.append((queue, request)),
            stopping=self.stopping,
        ).start()
        wait_until(lambda: client.pubsub_numpat() == 2, "it listens")

    def accept(self, *, urgent: bool, queue: str = QUEUE) -> None:
        self.ledger.accept(queue, [Request("1", "/v1/x", "m", b"{}", 1, urgent=urgent)])


@pytest.fixture
def heard(stand_in: StandIn) -> Iterator[Heard]:
    heard = Heard(stand_in.client())
    yield heard
    heard.stopping.set()


def test_an_urgent_request_is_heard_of_when_it_is_accepted(heard: Heard) -> None:
    heard.accept(urgent=True)
    wait_until(lambda: heard.queues == [QUEUE], "its queue is heard of")


def test_of_other_requests_nothing_is_heard(heard: Heard) -> None:
    heard.accept(urgent=False, queue="other")
    heard.accept(urgent=True)
    wait_until(lambda: heard.queues == [QUEUE], "the urgent one alone is heard of")


def test_an_urgent_request_is_heard_of_when_it_is_ready_again(heard: Heard) -> None:
    keys = QueueKeys(FLEET, QUEUE)
    heard.accept(urgent=True)
    wait_until(lambda: heard.queues == [QUEUE], "its queue is heard of")
    heard.client.hset(keys.leases, "job:1", "token")
    Transitions(heard.client, FLEET, lease_ms=1000, declare_flags=False).hand_back(QUEUE, [("job:1", "token")])
    wait_until(lambda: heard.queues == [QUEUE, QUEUE], "it is heard of again")


def test_when_it_begins_to_listen_all_queues_that_wait_are_looked_at(stand_in: StandIn) -> None:
    heard = Heard(stand_in.client(), waiting=["a", "b"])
    wait_until(lambda: heard.queues == ["a", "b"], "they were looked at")
    heard.stopping.set()


def test_a_call_in_flight_that_nobody_waits_for_is_heard_of_each_time_that_it_is_told(heard: Heard) -> None:
    heard.accept(urgent=False)
    heard.client.hset(QueueKeys(FLEET, QUEUE).leases, "job:1", "token")
    assert heard.ledger.withdraw(QUEUE, ["1"], Withdrawal.GIVEN_UP) == [Withdrawn.HELD]
    wait_until(lambda: heard.stopped == [(QUEUE, "job:1")], "it is heard of")
    assert heard.ledger.withdraw(QUEUE, ["1"], Withdrawal.GIVEN_UP) == [Withdrawn.HELD]
    wait_until(lambda: heard.stopped == [(QUEUE, "job:1")] * 2, "it is heard of again")


def test_of_a_call_that_may_still_be_wanted_nothing_is_heard(heard: Heard) -> None:
    heard.accept(urgent=False)
    heard.client.hset(QueueKeys(FLEET, QUEUE).leases, "job:1", "token")
    assert heard.ledger.withdraw(QUEUE, ["1"]) == [Withdrawn.HELD]
    heard.ledger.accept(QUEUE, [Request("2", "/v1/x", "m", b"{}", 1, urgent=True)])
    wait_until(lambda: heard.queues == [QUEUE], "what was told later is heard of")
    assert heard.stopped == []
