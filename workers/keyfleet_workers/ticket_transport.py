"""The way of tickets from Redis into Celery: what is no sound ticket is refused here, before Celery looks at it.

Celery's own answers to what it can't read are of no use to a worker: some end its event loop, some leave a message
counted as held for ever, and most log the whole message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from celery import Celery
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.transport.virtual import Empty

from keyfleet.config import redact_url
from keyfleet.errors import MalformedEntry
from keyfleet.ledger import model_of
from keyfleet.ticket_message import plain_message, read_ticket

__all__ = ["GuardedChannel", "GuardedTransport", "TicketQoS", "guard_tickets"]

logger = logging.getLogger(__name__)


PAUSE_S = 0.25
"""Pause after an error that the next read would meet again, such as a queue that is no list (s)."""


def guard_tickets(app: Celery, on_refused: Callable[[], None]) -> None:
    """Have the application's workers refuse what is no sound ticket; `on_refused` is told of each."""
    transport = type("GuardedTransport", (GuardedTransport,), {"on_refused": staticmethod(on_refused)})
    connect = app.connection_for_read

    def connection_for_read(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        connection.transport_cls = transport
        connection.info = partial(_shown, connection)
        return connection

    app.connection_for_read = connection_for_read


def _shown(connection: Any) -> dict[str, Any]:
    """What remote control, and so Flower, is told of a connection to the broker.

    All that kombu tells can't be written as JSON, since a transport of one's own is a class, and Celery then answers no
    remote control at all; and it holds the passwords of a socket's address and of a TLS key.
    """
    info = dict(type(connection).info(connection))
    hidden: dict[str, Any] = {"hostname": redact_url(str(info["hostname"])), "password": None, "alternates": []}
    return {**info, **hidden, "ssl": bool(info["ssl"]), "transport": "redis", "credential_provider": None}


class TicketQoS(virtual.QoS):
    """Puts back what was read and not begun. kombu would write what it can't put back to a file on this host, where
    nobody looks for it; a ticket that is lost is replaced."""

    def restore_unacked(self) -> list[Any]:
        lost = super().restore_unacked()  # type: ignore[no-untyped-call] # kombu has no types
        if lost:
            logger.info("%d tickets are lost with the connection; they will be replaced", len(lost))
        return []


class GuardedChannel(kombu_redis.Channel):
    """Reads messages, and drops what is no JSON: it is off its list by then."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call] # kombu has no types
        self.QoS = TicketQoS  # type: ignore[assignment] # kombu assigns another here itself

    def maybe_refresh_binding_expiry(self) -> None:
        """A full server refuses it once a second, which says nothing new; kombu would log each of them at length."""
        try:
            super().maybe_refresh_binding_expiry()  # type: ignore[no-untyped-call] # kombu has no types
        except redis.exceptions.OutOfMemoryError:
            logger.debug("the broker's memory is full: what remote control needs there is not renewed for now")

    def _brpop_read(self, **options: Any) -> Any:
        return self._guarded(super()._brpop_read, **options)

    def _queue_bind(self, *arguments: Any) -> None:
        """Only remote control binds queues. A full server refuses that, which must not end a worker that could help to
        empty it; kombu binds them again by and by."""
        try:
            super()._queue_bind(*arguments)  # type: ignore[no-untyped-call] # kombu has no types
        except redis.exceptions.OutOfMemoryError:
            logger.warning("the broker's memory is full: this worker can't be reached by remote control for now")

    def _receive(self) -> Any:
        return self._guarded(super()._receive)

    def _guarded(self, read: Callable[..., Any], **options: Any) -> Any:
        try:
            return read(**options)
        except (Empty, redis.exceptions.NoPermissionError, *self.connection_errors):
            raise
        except redis.exceptions.OutOfMemoryError:  # of a ticket that came too late for its consumer: reading needs none
            logger.info("the broker's memory is full: a ticket can't be put back, and will be replaced")
        except redis.RedisError as error:
            self.connection.refuse(f"Redis answered with an error ({type(error).__name__})")
            time.sleep(PAUSE_S)
        except Exception as error:
            self.connection.refuse(f"it can't be read ({type(error).__name__})")
        return True


class GuardedTransport(kombu_redis.Transport):
    """kombu's Redis transport, which hands on sound tickets only."""

    Channel = GuardedChannel
    on_refused: Callable[[], None]

    def refuse(self, reason: str) -> None:
        """Say and count that a message was refused; `reason` holds nothing of it."""
        logger.warning("a message in a queue is refused: %s", reason)
        self.on_refused()

    def _deliver(self, message: Any, queue: str) -> None:
        if not self._is_fanout(queue):
            try:
                ticket = read_ticket(message)
                message = plain_message(ticket, queue, shown=f"{model_of(queue)}, up to {ticket.count} requests")
            except MalformedEntry as error:
                return self.refuse(str(error))
        deliver: Any = super()._deliver
        return deliver(message, queue)  # type: ignore[no-any-return, unused-ignore] # kombu has no types

    def _is_fanout(self, queue: str) -> bool:
        """Whether it is one of remote control's queues, whose messages are no tickets."""
        return any(queue in channel._fanout_queues for channel in self.channels)
