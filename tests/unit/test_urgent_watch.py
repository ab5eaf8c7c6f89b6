"""Hearing of urgent requests, on a stand-in server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions, Transitions
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.urgent_watch import UrgentWatch
from support.events import wait_until

if TYPE_CHECKING:
    from support.stand_in import StandIn

FLEET, QUEUE = "f", "org%2Fmodel"


class Heard:
    """A watch, and what it was told."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.ledger = JobLedger(client, FLEET, "job", JobOptions(), declare_flags=False)
        self.queues: list[str] = []
        self.waiting: list[str] = []
        self.stopping = threading.Event()
        watch = UrgentWatch(client, FLEET, self.queues.append, lambda: self.waiting, self.stopping)
        watch.start()
        wait_until(lambda: client.pubsub_numpat() == 1, "it listens")

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


def test_when_it_listens_again_all_queues_that_wait_are_looked_at(stand_in: StandIn) -> None:
    client = stand_in.client()
    queues: list[str] = []
    stopping = threading.Event()
    UrgentWatch(client, FLEET, queues.append, lambda: ["a", "b"], stopping).start()
    wait_until(lambda: queues == ["a", "b"], "they were looked at")
    stopping.set()
