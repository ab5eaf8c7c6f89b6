"""The orders and reports of a load generator, which is a process of its own: one line of JSON each."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

__all__ = ["Load", "LoadReport", "Recorder", "serve_orders"]


@dataclass(frozen=True, slots=True)
class Load:
    """`callers` make calls one after the other for `seconds`. They begin one by one in the first `warm_up_s`, in which
    nothing is measured. `body` is the request's JSON text, `is_stream` says that it asks for a stream."""

    callers: int
    seconds: float
    body: str = field(repr=False)
    warm_up_s: float = 0.5
    is_stream: bool = False

    def starts_s(self) -> list[float]:
        """When each caller begins."""
        return [self.warm_up_s * number / self.callers for number in range(self.callers)]


@dataclass(slots=True)
class LoadReport:
    """`calls` are all that ended well, the measured ones of them took `times_ms`, from their beginning to the whole
    answer; `first_ms` to the first token of a stream. `failed` is to be 0."""

    calls: int = 0
    failed: int = 0
    times_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    measured_s: float = 0.0


class Recorder:
    """What one load has come to so far."""

    def __init__(self, load: Load) -> None:
        self.report = LoadReport(measured_s=load.seconds - load.warm_up_s)
        self._is_stream = load.is_stream
        self._measure_from_s = time.perf_counter() + load.warm_up_s
        self._ends_s = time.perf_counter() + load.seconds

    @property
    def is_over(self) -> bool:
        """Whether no more calls are to begin."""
        return time.perf_counter() >= self._ends_s

    def note(self, began_s: float, first_s: float | None, *, is_good: bool) -> None:
        """A call has ended just now. Those that end after the load's time don't count towards its rate."""
        now_s = time.perf_counter()
        if not is_good:
            self.report.failed += 1
            return
        self.report.calls += 1
        if self._measure_from_s <= now_s < self._ends_s:
            self.report.times_ms.append((now_s - began_s) * 1000)
            if first_s is not None and self._is_stream:
                self.report.first_ms.append((first_s - began_s) * 1000)


def serve_orders(run: Callable[[Load, Recorder], Awaitable[None]]) -> None:
    """Carry out the loads that come on standard input, until it ends, on one event loop."""
    loop = asyncio.new_event_loop()
    for line in sys.stdin:
        recorder = Recorder(load := Load(**json.loads(line)))
        loop.run_until_complete(_whole(run(load, recorder)))
        print(json.dumps(asdict(recorder.report)), flush=True)
    loop.close()


async def _whole(work: Awaitable[None]) -> None:
    await work
