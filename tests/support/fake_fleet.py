"""A fleet that answers by a function of its test, at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keyfleet.calls import Answer, Priority
from keyfleet.calls.spread_sending import SendOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["FakeFleet", "Sent", "answer"]


@dataclass(frozen=True)
class Sent:
    """One call, as the fleet was given it."""

    endpoint: str
    body: dict[str, Any]
    timeout_s: float | None
    priority: Priority
    max_attempts: int | None


def answer(document: Any, status: int = 200, **fields: Any) -> Answer:
    """An answer with this document."""
    return Answer(status, json.dumps(document).encode(), **fields)


class FakeFleet:
    """`sent` are the calls so far. `is_closed` tells whether somebody has closed it."""

    def __init__(self, reply: Callable[[Sent], Answer], *, lanes: int = 1) -> None:
        """`reply` gives the answer to a call, or raises the fleet's error."""
        self._reply = reply
        self._lanes = lanes
        self._lock = threading.Lock()
        self.sent: list[Sent] = []
        self.is_closed = False

    @property
    def last(self) -> Sent:
        """The latest call."""
        return self.sent[-1]

    def send(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer:
        """As of a Fleet."""
        sent = Sent(endpoint, json.loads(body), timeout_s, priority, max_attempts)
        with self._lock:
            self.sent.append(sent)
        return self._reply(sent)

    async def asend(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer:
        """As of a Fleet."""
        return self.send(endpoint, body, **options)

    def send_stream(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer:
        """As of a Fleet whose providers answer whole."""
        return self.send(endpoint, body, **options)

    async def asend_stream(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer:
        """The same for an event loop."""
        return self.send(endpoint, body, **options)

    def lanes(self, model: str) -> int:
        """As many keys as the test says."""
        return self._lanes

    def close(self) -> None:
        """As of a Fleet."""
        self.is_closed = True
