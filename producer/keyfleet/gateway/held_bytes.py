"""One bound on the bytes of all bodies that a gateway holds at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keyfleet.api import Refused
from keyfleet.gateway.failures import unavailable_reply

__all__ = ["HeldBytes", "Holding"]


class HeldBytes:
    """Bodies are held until their calls end. What is made of them (their values, the parts of lists) is not counted."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    @contextmanager
    def holding(self) -> Iterator[Holding]:
        """The share of one call, which ends with the context."""
        holding = Holding(self)
        try:
            yield holding
        finally:
            self._held_bytes -= holding.held_bytes

    def take(self, count: int) -> None:
        """Raises Refused where there is no room for so many more bytes."""
        if self._held_bytes + count > self._most_bytes:
            message = "the gateway holds as many bytes of requests as it may; nothing was paid for this one"
            raise Refused(unavailable_reply(message, "overloaded"))
        self._held_bytes += count


class Holding:
    """What one call holds, in bytes."""

    __slots__ = ("_all", "held_bytes")

    def __init__(self, everybodys: HeldBytes) -> None:
        self._all = everybodys
        self.held_bytes = 0

    def reach(self, size_bytes: int) -> None:
        """Hold at least so much. Raises Refused where there is no room."""
        if size_bytes > self.held_bytes:
            self._all.take(size_bytes - self.held_bytes)
            self.held_bytes = size_bytes
