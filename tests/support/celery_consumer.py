"""A stand-in for Celery's consumer and its event loop, which run as a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.common import QoS

__all__ = ["Consumer", "Hub", "TaskConsumer"]


class Hub:
    """An event loop that runs when it is told to; like the real one it keeps no order among what is due."""

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.now_s = 0.0
        self.shuffle: Callable[[list[Any]], None] = lambda found: None

    def call_soon(self, action: Callable[..., None], *arguments: Any) -> None:
        self.ready.append(lambda: action(*arguments))

    def call_later(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        self.timers.append((self.now_s + delay_s, lambda: action(*arguments)))

    def run(self) -> None:
        while self.ready:
            found, self.ready = self.ready, []
            self.shuffle(found)
            for action in found:
                action()

    def advance(self, duration_s: float) -> None:
        self.now_s += duration_s
        due = [timer for timer in self.timers if timer[0] <= self.now_s]
        self.timers = [timer for timer in self.timers if timer[0] > self.now_s]
        for _, action in due:
            action()
        self.run()


class TaskConsumer:
    """Which queues it consumes from."""

    def __init__(self) -> None:
        self.queues: set[str] = set()
        self.added: list[str] = []
        self.error: Exception | None = None

    def add_queue(self, queue: Any) -> None:
        self.added.append(queue.name)

    def consume(self) -> None:
        if self.error is not None:
            raise self.error
        self.queues.update(self.added)

    def consuming_from(self, queue: str) -> bool:
        return queue in self.queues

    def cancel_by_queue(self, queue: str) -> None:
        if self.error is not None:
            raise self.error
        self.queues.discard(queue)
        self.added = [name for name in self.added if name != queue]


class Consumer:
    """Celery's consumer after one connection; `hub` outlives connections."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.prefetch: list[int] = []
        self.qos = QoS(self._set_prefetch, 1)
        self.task_consumer: TaskConsumer | None = TaskConsumer()

    def call_soon(self, action: Callable[..., None], *arguments: Any) -> None:
        self.hub.call_soon(action, *arguments)

    def _set_prefetch(self, prefetch_count: int) -> None:
        self.prefetch.append(prefetch_count)

    @property
    def queues(self) -> set[str]:
        assert self.task_consumer is not None
        return self.task_consumer.queues
