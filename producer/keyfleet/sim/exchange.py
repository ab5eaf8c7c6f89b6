"""One request from its arrival to its end, with the waits in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from keyfleet.sim.protocol import HttpConnection
from keyfleet.sim.statistics import Statistics, Visit
from keyfleet.sim.streaming import StreamPlan, StreamWriter

__all__ = ["Exchange", "Plan"]


@dataclass(slots=True)
class Plan:
    """How a request ends: after `delay_s`, by sending `payload`, by a stream or by a fault of the connection.

    `outcome` is what statistics call it. A hang has no payload and ends after `delay_s` without an answer.
    """

    outcome: str
    payload: bytes = field(default=b"", repr=False)
    ending: Literal["answer", "reset", "hang", "cut_off"] = "answer"
    delay_s: float = 0.0
    succeeded: bool = False
    stream: StreamPlan | None = None


class Exchange:
    """Counts its end exactly once, whether the answer goes out or the client leaves first."""

    __slots__ = ("_clock_ns", "_connection", "_plan", "_statistics", "_timer", "_visit", "_writer")

    def __init__(
        self, connection: HttpConnection, visit: Visit, statistics: Statistics, clock_ns: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._visit = visit
        self._statistics = statistics
        self._clock_ns = clock_ns
        self._plan: Plan | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writer: StreamWriter | None = None
        connection.on_lost = self._client_left

    def start(self, decide: Callable[[Visit], Plan], *, delay_s: float) -> None:
        """Decide after `delay_s`, and carry out what was decided."""
        if delay_s > 0:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._decide, decide)
        else:
            self._decide(decide)

    def _decide(self, decide: Callable[[Visit], Plan]) -> None:
        plan = self._plan = decide(self._visit)
        if plan.delay_s > 0:
            self._timer = asyncio.get_running_loop().call_later(plan.delay_s, self._end, plan)
        else:
            self._end(plan)

    def _end(self, plan: Plan) -> None:
        if plan.stream is not None:
            self._visit.is_streamed = True
            self._writer = StreamWriter(self._connection, plan.stream, self._token_written, self._answered)
            self._writer.start()
            return
        if plan.ending == "answer":
            self._connection.send(plan.payload, self._answered)
            return
        if plan.ending == "reset":
            self._connection.reset()
        elif plan.ending == "cut_off":
            self._connection.send_and_close(plan.payload)
        else:
            self._connection.close()
        self._count(plan.outcome, succeeded=False)

    def _answered(self) -> None:
        if self._plan is not None:
            self._count(self._plan.outcome, succeeded=self._plan.succeeded)

    def _token_written(self) -> None:
        self._visit.token_written(self._clock_ns())

    def _client_left(self) -> None:
        """What is to fall silent is counted as that, however early the client leaves: it had no other choice."""
        if self._timer is not None:
            self._timer.cancel()
        plan, writer = self._plan, self._writer
        if writer is not None:
            writer.stop()
        is_silent = plan is not None and (plan.ending == "hang" or plan.outcome == "stall")
        self._count(plan.outcome if plan is not None and is_silent else "client_left", succeeded=False)

    def _count(self, outcome: str, *, succeeded: bool) -> None:
        self._statistics.ended(self._visit, self._clock_ns(), outcome, succeeded=succeeded)
