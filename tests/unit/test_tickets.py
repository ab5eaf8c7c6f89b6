"""Tickets: Celery messages that name no request and carry no prompt, on a broker in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from keyfleet import redis_keys
from keyfleet.ticket_message import BULK, REQUESTS_PER_TICKET, TASK_NAME, URGENT
from keyfleet.tickets import TicketOffice, make_app


@pytest.fixture
def app() -> Iterator[Celery]:
    app = make_app("memory://", "fleet")
    yield app
    app.close()


@pytest.fixture
def office(app: Celery) -> Iterator[TicketOffice]:
    office = TicketOffice(app)
    yield office
    office.close()


class Post:
    """Reads what was sent to a queue."""

    def __init__(self, app: Celery, queue: str) -> None:
        self._connection = app.connection_for_read()
        channel = self._connection.default_channel
        self._queue = Queue(queue, Exchange(""), routing_key=queue)(channel)
        self._queue.declare()

    def take(self) -> list[Any]:
        found = []
        while (message := self._queue.get(no_ack=True)) is not None:
            found.append(message)
        return found

    def close(self) -> None:
        self._connection.release()


@pytest.fixture
def post(app: Celery) -> Iterator[Post]:
    post = Post(app, "gpt-4o")
    yield post
    post.close()


def counts(messages: list[Any]) -> list[int]:
    return [message.payload[0][0] for message in messages]


def test_a_ticket_says_only_for_how_many_requests_it_is(office: TicketOffice, post: Post) -> None:
    office.issue("gpt-4o", 5)
    (ticket,) = post.take()
    assert ticket.payload[0] == [5]
    assert ticket.payload[1] == {}
    assert (ticket.headers["task"], ticket.headers["argsrepr"], ticket.headers["kwargsrepr"]) == (
        TASK_NAME,
        "(5,)",
        "{}",
    )
    assert ticket.content_type == "application/json"


def test_new_requests_get_as_many_tickets_as_they_need(office: TicketOffice, post: Post) -> None:
    office.issue_for("gpt-4o", 2 * REQUESTS_PER_TICKET + 3)
    assert counts(post.take()) == [REQUESTS_PER_TICKET, REQUESTS_PER_TICKET, 3]
    office.issue_for("gpt-4o", 0)
    assert post.take() == []


def test_every_ticket_says_its_priority(office: TicketOffice, post: Post) -> None:
    office.issue("gpt-4o")
    office.issue("gpt-4o", urgent=True)
    found = sorted(ticket.properties["priority"] for ticket in post.take())
    assert found == [URGENT, BULK]
    assert URGENT == 0  # the highest, and the default, of Celery's Redis transport


def test_a_broker_that_is_away_is_reported_and_connected_to_again(
    office: TicketOffice, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.issue("gpt-4o", 1)
    producer = office._producer
    assert producer is not None

    def gone(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(producer, "publish", gone)
    with pytest.raises(OperationalError):
        office.issue("gpt-4o", 2)
    office.issue("gpt-4o", 3)
    assert counts(post.take()) == [1, 3]


def test_an_office_may_be_closed_twice_and_used_again(office: TicketOffice, post: Post) -> None:
    office.close()
    office.issue("gpt-4o", 1)
    office.close()
    office.close()
    assert counts(post.take()) == [1]


def test_keys_of_tickets_are_those_that_the_reaper_counts() -> None:
    options = make_app("redis://127.0.0.1:1/0", "fleet").conf.broker_transport_options
    assert options["global_keyprefix"] == redis_keys.tickets_prefix("fleet")
    assert options["priority_steps"] == [URGENT, BULK]
    assert options["ack_emulation"] is False


def test_a_lost_connection_makes_no_worker_hold_more_tickets() -> None:
    conf = make_app("redis://127.0.0.1:1/0", "fleet").conf
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_enable_prefetch_count_reduction is False
    assert conf.task_ignore_result is True
    assert conf.accept_content == ["json"]


def test_making_an_application_opens_no_connection() -> None:
    make_app("redis://192.0.2.1:1/0", "fleet")
