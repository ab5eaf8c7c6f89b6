"""How many tickets a queue lacks."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.tickets import BULK, REQUESTS_PER_TICKET, URGENT


@pytest.fixture
def client(stand_in: Any) -> redis.Redis:
    found: redis.Redis = stand_in.client()
    return found


def accepted(client: redis.Redis, count: int, *, urgent: int = 0) -> JobLedger:
    ledger = JobLedger(client, "fleet", "job", JobOptions(), declare_flags=False)
    requests = [
        Request(str(number), "/v1/completions", "m", b"{}", 1, urgent=number < urgent) for number in range(count)
    ]
    ledger.accept("m", requests)
    return ledger


@pytest.mark.parametrize(("ready", "lacking"), [(0, 0), (1, 1), (REQUESTS_PER_TICKET, 1), (REQUESTS_PER_TICKET + 1, 2)])
def test_a_queue_lacks_a_ticket_for_each_batch_of_ready_requests(client: redis.Redis, ready: int, lacking: int) -> None:
    assert accepted(client, ready).lacking_tickets("m") == lacking


def test_urgent_requests_and_tickets_count_as_well(client: redis.Redis) -> None:
    ledger = accepted(client, 2 * REQUESTS_PER_TICKET, urgent=REQUESTS_PER_TICKET)
    client.lpush(redis_keys.tickets("fleet", "m", URGENT), "ticket")
    assert ledger.lacking_tickets("m") == 1


def test_tickets_that_are_too_many_count_below_zero(client: redis.Redis) -> None:
    ledger = accepted(client, 1)
    client.lpush(redis_keys.tickets("fleet", "m", BULK), "one", "two", "three")
    assert ledger.lacking_tickets("m") == -2
