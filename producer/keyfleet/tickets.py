"""Tickets: Celery messages that say "there is work in this queue". They name no request and carry no prompt."""

from __future__ import annotations

import threading
from typing import Any

from celery import Celery, uuid
from kombu.messaging import Producer

from keyfleet import redis_keys
from keyfleet.ticket_channel import TicketTransport
from keyfleet.ticket_message import (
    BULK,
    CONTRACT_HEADER,
    CONTRACT_VERSION,
    PRIORITIES,
    REQUESTS_PER_TICKET,
    TASK_NAME,
    URGENT,
)

__all__ = ["TicketOffice", "make_app"]


def make_app(broker_url: str, fleet: str, name: str = "keyfleet") -> Celery:
    """The Celery application of `fleet`, for producers and workers alike. Opens no connection."""
    app = Celery(name, broker=broker_url, set_as_current=False, fixups=[])
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        event_serializer="json",
        result_serializer="json",
        result_accept_content=["json"],
        task_ignore_result=True,  # outcomes go to the ledger
        task_acks_late=True,  # so that the prefetch count also counts the chunks under way
        task_reject_on_worker_lost=False,  # a lost ticket is replaced by the reaper
        task_default_queue="keyfleet",
        task_create_missing_queues=True,
        task_default_delivery_mode="transient",
        task_publish_retry=False,  # the ledger is the truth: the reaper replaces a ticket that could not be sent
        # Flower asks for them every few seconds. Sent to nobody, they took a third of a worker's time for one call.
        worker_send_task_events=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_prefetch_count_reduction=False,  # it would raise the count to the pool's size on reconnecting
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "ack_emulation": False,  # acknowledgements carry no promise, and fail on a full server
            "global_keyprefix": redis_keys.tickets_prefix(fleet),
            "priority_steps": list(PRIORITIES),
            "queue_order_strategy": "round_robin",
            "polling_interval": 0.2,  # seconds until a queue that is consumed again is looked at
        },
    )
    return app


class TicketOffice:
    """Issues tickets over one kept connection. Safe to be used by several threads."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def issue(self, queue: str, count: int = REQUESTS_PER_TICKET, *, urgent: bool = False) -> None:
        """Send one ticket for up to `count` requests. Raises kombu's OperationalError when the broker is away."""
        message = self._app.amqp.as_task_v2(
            task_id=self._new_id(), name=TASK_NAME, args=(count,), kwargs={}, argsrepr=f"({count},)", kwargsrepr="{}"
        )
        with self._lock:
            self._publish(queue, message, URGENT if urgent else BULK)

    def issue_for(self, queue: str, requests: int, *, urgent: bool = False) -> None:
        """Send the tickets that `requests` new requests need."""
        while requests > 0:
            self.issue(queue, min(requests, REQUESTS_PER_TICKET), urgent=urgent)
            requests -= REQUESTS_PER_TICKET

    def _new_id(self) -> str:
        return str(uuid())

    def _publish(self, queue: str, message: Any, priority: int) -> None:
        if self._producer is None:
            connection = self._app.connection_for_write()
            if connection.transport_cls in ("redis", "rediss"):  # and not what tests put in its place
                connection.transport_cls = TicketTransport
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        try:
            self._producer.publish(
                message.body,
                exchange="",  # the default exchange needs no declaration, which a full server would refuse
                routing_key=queue,
                serializer="json",
                headers={**message.headers, CONTRACT_HEADER: CONTRACT_VERSION},
                priority=priority,
                **message.properties,
            )
        except Exception:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.connection.release()

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._disconnect()
