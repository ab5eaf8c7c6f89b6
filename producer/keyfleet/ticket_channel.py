"""The way of tickets into Redis: kombu's, and another where the server is full."""

from __future__ import annotations

from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps

from keyfleet.scripts import load_source

__all__ = ["TicketTransport"]

_PUSH = load_source(("keyfleet", "push_ticket.lua"))


class TicketChannel(kombu_redis.Channel):
    """Tickets pass into a full server too: they are what has workers empty it."""

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        try:
            super()._put(queue, message, **options)  # type: ignore[no-untyped-call] # kombu has no types
        except redis.exceptions.OutOfMemoryError:
            priority = self._get_message_priority(message, reverse=False)  # type: ignore[no-untyped-call]
            key = self._q_for_pri(queue, priority)  # type: ignore[no-untyped-call]
            with self.conn_or_acquire() as client:
                client.register_script(_PUSH)(keys=[key], args=[dumps(message)])


class TicketTransport(kombu_redis.Transport):
    """kombu's Redis transport with such channels."""

    Channel = TicketChannel
