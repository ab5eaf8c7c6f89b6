"""Writing a stream token by token, at its pace and no faster than its reader takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from keyfleet.sim.faults import MidStream
from keyfleet.sim.headers import LAST_CHUNK, chunk
from keyfleet.sim.protocol import HttpConnection
from keyfleet.sim.streamed_answers import StreamedAnswer

__all__ = ["StreamPlan", "StreamWriter"]

_STEPS_AT_ONCE = 32
"""Writes in a row before other connections have their turn."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A stream and its pace: `interval_s` from one token to the next, the first at once.

    `fault` strikes after `break_after_tokens`, or after all tokens where there are fewer; `error_event` is what a
    `stream_error` sends, `hang_s` how long a `stall` lasts.
    """

    head: bytes = field(repr=False)
    answer: StreamedAnswer = field(repr=False)
    interval_s: float = 0.0
    fault: MidStream | None = None
    break_after_tokens: int = 0
    error_event: Callable[[], bytes] | None = None
    hang_s: float = 0.0

    def last_event(self) -> bytes:
        """What the stream ends with, unless it is broken off."""
        return self.answer.last_event() if self.error_event is None else self.error_event()


class _Step(NamedTuple):
    """One write. `due_s` is when, on the loop's clock; None: it is no token, and follows at once."""

    payload: bytes
    due_s: float | None


class StreamWriter:
    """Writes one stream. Nothing is made before the kernel has taken what came before, so nothing piles up here.

    Tokens fall due at even intervals from the start, whenever the reader takes them: one that was slow finds those
    that have fallen due meanwhile, as with a provider that has gone on. `on_token` is called with each token written;
    `on_end` once, when all was written or the fault has struck, and never after `stop`.
    """

    def __init__(
        self, connection: HttpConnection, plan: StreamPlan, on_token: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._on_token = on_token
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._steps = self._all_steps(self._loop.time())
        self._held: _Step | None = None
        self._timer: asyncio.Handle | None = None

    def start(self) -> None:
        """Write what is due, and go on by itself."""
        self._timer = None
        for _ in range(_STEPS_AT_ONCE):
            if self._connection.is_closing:
                return
            step = self._held or next(self._steps, None)
            self._held = None
            if step is None:
                self._end()
                return
            if step.due_s is not None and step.due_s > self._loop.time():
                self._held = step
                self._timer = self._loop.call_at(step.due_s, self.start)
                return
            was_taken = self._connection.send_part(step.payload, self.start)
            if step.due_s is not None:
                self._on_token()
            if not was_taken:
                return
        self._timer = self._loop.call_soon(self.start)

    def stop(self) -> None:
        """The client has left: write nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _all_steps(self, start_s: float) -> Iterator[_Step]:
        plan, answer = self._plan, self._plan.answer
        yield _Step(plan.head + (chunk(answer.opening) if answer.opening else b""), None)
        tokens = islice(answer.tokens, plan.break_after_tokens) if plan.fault else answer.tokens
        for number, token in enumerate(tokens):
            yield _Step(chunk(token), start_s + number * plan.interval_s)
        if plan.fault is None:
            yield from (_Step(chunk(event), None) for event in answer.closing)

    def _end(self) -> None:
        if self._plan.fault == "stall":
            self._timer = self._loop.call_later(self._plan.hang_s, self._break_off)
        elif self._plan.fault == "break_off":
            self._break_off()
        else:
            # In one write: many a client closes the connection as soon as it has read the last event.
            self._connection.send(chunk(self._plan.last_event()) + LAST_CHUNK, self._on_end)

    def _break_off(self) -> None:
        self._connection.close()
        self._on_end()
