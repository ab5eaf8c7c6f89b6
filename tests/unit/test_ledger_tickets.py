"""Requests are written with as many tickets as their queue lacks."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.redis_keys import QueueKeys
from keyfleet.ticket_message import BULK, REQUESTS_PER_TICKET, URGENT, new_tickets, read_ticket

FLEET, QUEUE = "fleet", "m"


@pytest.fixture
def client(stand_in: Any) -> redis.Redis:
    found: redis.Redis = stand_in.client()
    return found


def accept(client: redis.Redis, first: int, count: int, *, urgent: bool = False, batch: str = "") -> None:
    """Write `count` requests from number `first` on, with all tickets that they may need."""
    ledger = JobLedger(client, FLEET, "job", JobOptions(), declare_flags=False)
    numbers = range(first, first + count)
    requests = [Request(str(number), "/v1/completions", QUEUE, b"{}", 1, urgent=urgent) for number in numbers]
    ledger.accept(QUEUE, requests, batch=batch, tickets=new_tickets(QUEUE, count, overtake=urgent))


def standing(client: redis.Redis, priority: int) -> list[bytes]:
    found: Any = client.lrange(redis_keys.tickets(FLEET, QUEUE, priority), 0, -1)
    return list(found)


def counts(client: redis.Redis) -> tuple[int, int]:
    """Tickets that overtake others, and others."""
    return len(standing(client, URGENT)), len(standing(client, BULK))


@pytest.mark.parametrize(("ready", "lacking"), [(0, 0), (1, 1), (REQUESTS_PER_TICKET, 1), (REQUESTS_PER_TICKET + 1, 2)])
def test_a_queue_gets_a_ticket_for_each_batch_of_ready_requests(client: redis.Redis, ready: int, lacking: int) -> None:
    accept(client, 0, ready)
    assert counts(client) == (0, lacking)


def test_a_ticket_is_one_that_workers_read(client: redis.Redis) -> None:
    accept(client, 0, 1)
    accept(client, 1, 1, urgent=True)
    bulk, urgent = (read_ticket(json.loads(standing(client, priority)[0])) for priority in (BULK, URGENT))
    assert (bulk.count, bulk.priority, urgent.count, urgent.priority) == (
        *(REQUESTS_PER_TICKET, BULK),
        *(REQUESTS_PER_TICKET, URGENT),
    )
    assert bulk.id != urgent.id


def test_a_queue_with_enough_tickets_gets_no_more(client: redis.Redis) -> None:
    accept(client, 0, 2)
    accept(client, 2, REQUESTS_PER_TICKET - 2)
    assert counts(client) == (0, 1)
    accept(client, REQUESTS_PER_TICKET, 1)
    assert counts(client) == (0, 2)


def test_no_more_tickets_are_issued_than_the_new_requests_need(client: redis.Redis) -> None:
    accept(client, 0, 3 * REQUESTS_PER_TICKET)
    client.delete(redis_keys.tickets(FLEET, QUEUE, BULK))
    accept(client, 3 * REQUESTS_PER_TICKET, 1)
    assert counts(client) == (0, 1)


def test_urgent_requests_and_tickets_count_for_others_as_well(client: redis.Redis) -> None:
    accept(client, 0, REQUESTS_PER_TICKET, urgent=True)
    accept(client, REQUESTS_PER_TICKET, REQUESTS_PER_TICKET)
    assert counts(client) == (1, 1)


def test_for_urgent_requests_only_tickets_count_that_overtake_others(client: redis.Redis) -> None:
    accept(client, 0, 3 * REQUESTS_PER_TICKET)
    accept(client, 3 * REQUESTS_PER_TICKET, REQUESTS_PER_TICKET + 1, urgent=True)
    accept(client, 4 * REQUESTS_PER_TICKET + 1, 1, urgent=True)
    assert counts(client) == (2, 3)


def test_a_request_that_is_known_already_gets_no_ticket(client: redis.Redis) -> None:
    accept(client, 0, 1)
    client.delete(redis_keys.tickets(FLEET, QUEUE, BULK))
    accept(client, 0, 1)
    assert counts(client) == (0, 0)


def test_a_batch_that_is_written_again_has_its_tickets_once(client: redis.Redis) -> None:
    accept(client, 0, 2, batch="one")
    accept(client, 0, 2, batch="one")
    assert counts(client) == (0, 1)


@pytest.mark.parametrize("spoilt", [URGENT, BULK])
def test_requests_are_accepted_where_tickets_can_not_be_issued(client: redis.Redis, spoilt: int) -> None:
    client.set(redis_keys.tickets(FLEET, QUEUE, spoilt), "no list")
    accept(client, 0, 1, urgent=spoilt == URGENT)
    assert client.hlen(QueueKeys(FLEET, QUEUE).requests) == 1
