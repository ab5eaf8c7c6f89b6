"""A ticket as it lies in its queue: how it is written, and how it is read by whoever didn't write it."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from dataclasses import dataclass
from typing import Any

from keyfleet.checked_json import CONTRACT_VERSION, Fields, is_count, parse_json
from keyfleet.errors import MalformedEntry

__all__ = [
    "BULK",
    "CONTRACT_HEADER",
    "CONTRACT_VERSION",
    "NO_TICKETS",
    "PRIORITIES",
    "REQUESTS_PER_TICKET",
    "TASK_NAME",
    "URGENT",
    "Ticket",
    "Tickets",
    "new_tickets",
    "plain_message",
    "read_ticket",
]

TASK_NAME = "keyfleet.chunk"
"""The Celery task that a ticket starts."""

REQUESTS_PER_TICKET = 32
"""Most requests that one ticket speaks for."""

CONTRACT_HEADER = "keyfleet_contract"
"""Header with the version of the contract; a ticket without it is of version 1."""

MAX_BODY_BYTES = 1024
"""A ticket's arguments take a tenth of this."""

MAX_ID_CHARACTERS = 64
"""Longest name of a ticket; it shows in Flower and in logs."""

URGENT = 0
"""Priority of interactive work; in Celery's Redis transport 0 is the highest, and the default."""

BULK = 9
"""Priority of jobs; the lowest there."""

PRIORITIES = (URGENT, BULK)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A sound ticket: for up to `count` requests; `id` names it in Flower, `priority` is 0 (urgent) to 9."""

    id: str
    count: int
    priority: int


@dataclass(frozen=True, slots=True)
class Tickets:
    """Messages of tickets that may be issued. `overtake`: before those of others."""

    messages: tuple[str, ...]
    overtake: bool = False


NO_TICKETS = Tickets(())


def new_tickets(queue: str, requests: int, *, overtake: bool) -> Tickets:
    """What `requests` new requests of `queue` need."""
    priority = URGENT if overtake else BULK
    count = -(-requests // REQUESTS_PER_TICKET)
    found = (Ticket(str(uuid.uuid4()), REQUESTS_PER_TICKET, priority) for _ in range(count))
    return Tickets(tuple(json.dumps(plain_message(ticket, queue)) for ticket in found), overtake)


def plain_message(ticket: Ticket, queue: str, *, shown: str | None = None) -> dict[str, Any]:
    """The message that carries this ticket and nothing else, and speaks of the queue it stands in.

    `shown` is what stands for its arguments wherever tickets are watched.
    Its body is in base64, without which kombu could not put it back as it was.
    """
    body = json.dumps([[ticket.count], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": TASK_NAME,
            "id": ticket.id,
            "root_id": ticket.id,
            "argsrepr": f"({ticket.count},)" if shown is None else shown,
            "kwargsrepr": "{}",
            CONTRACT_HEADER: CONTRACT_VERSION,
        },
        "properties": {
            "body_encoding": "base64",
            "correlation_id": ticket.id,
            "delivery_tag": str(uuid.uuid4()),
            "delivery_mode": 1,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": ticket.priority,
        },
    }


def read_ticket(message: Any) -> Ticket:
    """The ticket in a message of Celery's second protocol, as kombu's Redis transport keeps it.

    Only JSON is read, and of it only what a ticket needs: times, callbacks and whatever else a Celery message may ask
    for mean nothing here. Raises MalformedEntry, which shows nothing of the message.
    """
    fields = Fields(message)
    headers = Fields(fields.members("headers"))
    headers.check_version(CONTRACT_HEADER)
    if headers.get("task") != TASK_NAME:
        raise MalformedEntry(f"`task`: expected {TASK_NAME}")
    if fields.get("content-type") != "application/json" or headers.get("compression") is not None:
        raise MalformedEntry("`content-type`: expected application/json, not compressed")
    ticket_id = headers.text("id")
    if not ticket_id.isascii() or not ticket_id.isprintable() or not 0 < len(ticket_id) <= MAX_ID_CHARACTERS:
        raise MalformedEntry("`id`: expected up to 64 printable characters")
    properties = Fields(fields.members("properties"))
    priority = properties.count("priority", 0)
    return Ticket(ticket_id, _count(_body(fields, properties)), min(priority, BULK))


def _body(fields: Fields, properties: Fields) -> str | bytes:
    body = fields.text("body")
    if len(body) > MAX_BODY_BYTES:
        raise MalformedEntry(f"`body`: expected up to {MAX_BODY_BYTES} bytes")
    if properties.get("body_encoding") is None:
        return body
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise MalformedEntry("`body`: expected base64")


def _count(body: str | bytes) -> int:
    """The one argument, of (arguments, named arguments, what else Celery carries)."""
    parts = parse_json(body)
    if not isinstance(parts, list) or len(parts) != 3 or not isinstance(parts[0], list) or parts[1] != {}:
        raise MalformedEntry("`body`: expected one argument and no named ones")
    arguments = parts[0]
    if len(arguments) != 1 or not is_count(arguments[0]) or not 0 < arguments[0] <= REQUESTS_PER_TICKET:
        raise MalformedEntry(f"`body`: expected a number of requests from 1 to {REQUESTS_PER_TICKET}")
    return int(arguments[0])
