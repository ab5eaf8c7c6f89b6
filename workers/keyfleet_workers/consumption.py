"""Which queues the Celery consumer consumes from, and how many tickets it may hold.

A worker takes tickets only while it can use them: the prefetch count is always the number of chunks under way plus
one, through Celery's own counters, and a queue that can't go on here is not consumed from until it can.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from kombu.entity import Exchange, Queue

from keyfleet_workers.dispatch.taking import STANDING_S

__all__ = ["Consumption", "consumer_step", "ticket_queue"]

logger = logging.getLogger(__name__)

EARLY_S = 0.25
"""By how much a queue is consumed again before a long wait ends, as a ticket takes a moment to arrive (s)."""


def ticket_queue(name: str) -> Queue:
    """A queue of the default exchange, never declared: declaring would need memory that a full server refuses."""
    return Queue(name, Exchange(""), routing_key=name, no_declare=True)


class Consumption:
    """Controls the consumer from any thread. All changes are made by the consumer's own event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._consumer: Any = None
        self._generation = 0
        self._served: set[str] = set()
        self._pauses: dict[str, int] = {}
        self._stopped = False

    def attach(self, consumer: Any) -> None:
        """The consumer has connected, for the first time or again."""
        with self._lock:
            self._consumer = consumer
            self._generation += 1
            for queue in self._pauses:  # pauses of the connection that was lost are over
                self._pauses[queue] += 1
            served = list(self._served)
        for queue in served:
            self._soon(self._consume, queue)

    def serve(self, queue: str) -> None:
        """Consume from `queue` from now on."""
        with self._lock:
            if queue in self._served or self._stopped:
                return
            self._served.add(queue)
        self._soon(self._consume, queue)

    def served(self) -> set[str]:
        """The queues that are consumed from, paused ones included."""
        with self._lock:
            return set(self._served)

    def pause(self, queue: str, wait_s: float) -> None:
        """Leave `queue` alone for `wait_s`, or a little less for a long wait."""
        number = self._next_number(queue)
        rest_s = wait_s - EARLY_S if wait_s > STANDING_S else wait_s
        self._soon(self._pause, queue, number, rest_s)

    def resume(self, queue: str) -> None:
        """Consume from `queue` again."""
        self._next_number(queue)
        self._soon(self._consume, queue)

    def resume_all(self) -> None:
        """Consume from every queue again."""
        for queue in self.served():
            self.resume(queue)

    def stop(self) -> None:
        """Consume from nothing any more."""
        with self._lock:
            self._stopped = True
            served = list(self._served)
        for queue in served:
            self._soon(self._cancel, queue)

    def chunk_began(self) -> int:
        """One more ticket may be held. Returns the connection's generation, for `chunk_ended`."""
        with self._lock:
            consumer, generation = self._consumer, self._generation
            if consumer is not None:
                consumer.qos.increment_eventually()
        self._soon(_nothing)
        return generation

    def chunk_ended(self, generation: int) -> None:
        """One ticket less may be held."""
        with self._lock:
            if self._consumer is not None and generation == self._generation:
                self._consumer.qos.decrement_eventually()

    def say_what(self, ticket_id: str, what: object) -> None:
        """Tell those who watch the workers what a ticket has become, if anybody has asked for such events."""
        dispatcher = getattr(self._consumer, "event_dispatcher", None)
        if dispatcher is not None and dispatcher.enabled:
            dispatcher.send("task-started", uuid=ticket_id, args=str(what))

    def _next_number(self, queue: str) -> int:
        """The event loop keeps no order, so an older pause must be able to see that it is over."""
        with self._lock:
            number = self._pauses[queue] = self._pauses.get(queue, 0) + 1
            return number

    def _soon(self, action: Callable[..., None], *arguments: Any) -> None:
        consumer = self._consumer
        if consumer is not None:
            consumer.call_soon(_logged, action, *arguments)

    def _pause(self, queue: str, number: int, rest_s: float) -> None:
        if self._pauses.get(queue) == number:
            self._consumer.hub.call_later(rest_s, _logged, self._end_pause, queue, number)
            self._cancel(queue)

    def _end_pause(self, queue: str, number: int) -> None:
        if self._pauses.get(queue) == number:
            self._consume(queue)

    def _cancel(self, queue: str) -> None:
        if self._consumer.task_consumer is not None:
            self._consumer.task_consumer.cancel_by_queue(queue)

    def _consume(self, queue: str) -> None:
        consumer = self._consumer.task_consumer
        if not self._stopped and consumer is not None and not consumer.consuming_from(queue):
            consumer.add_queue(ticket_queue(queue))
            consumer.consume()


def _nothing() -> None:
    """Only wakes the event loop, which then applies the prefetch count."""


def _logged(action: Callable[..., None], *arguments: Any) -> None:
    """Run `action` without ever ending the event loop: a lost connection shows there by itself."""
    try:
        action(*arguments)
    except Exception:
        logger.warning("the consumer could not be changed", exc_info=True)


def consumer_step(consumption: Consumption) -> type[bootsteps.StartStopStep]:
    """The bootstep that ties `consumption` to Celery's consumer."""

    class ConsumptionStep(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, consumer: Any, **options: Any) -> None:
            consumer.initial_prefetch_count = 1
            super().__init__(consumer, **options)

        def start(self, consumer: Any) -> None:
            consumption.attach(consumer)

    return ConsumptionStep
