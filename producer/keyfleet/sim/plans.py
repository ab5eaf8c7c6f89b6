"""How requests end: with which answer, stream, error or fault, and after which time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

from keyfleet.sim.answers import answer_body
from keyfleet.sim.config import Flavour, SimConfig
from keyfleet.sim.error_bodies import ApiError
from keyfleet.sim.exchange import Plan
from keyfleet.sim.faults import Fault
from keyfleet.sim.flavours import in_flavour
from keyfleet.sim.headers import response, stream_head
from keyfleet.sim.prompts import Asked, Endpoint
from keyfleet.sim.streamed_answers import streamed_answer
from keyfleet.sim.streaming import StreamPlan

__all__ = ["Planner"]

_NO_JSON = b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"


class Planner:
    """Plans under one configuration. `jitter` is drawn from in the order of admission, `numbers` makes ids unique."""

    def __init__(self, config: SimConfig, jitter: random.Random, numbers: Iterator[int]) -> None:
        self._config = config
        self._jitter = jitter
        self._numbers = numbers

    def refused(
        self,
        error: ApiError,
        headers: str = "",
        *,
        outcome: str | None = None,
        delay_s: float = 0.0,
        flavour: Flavour = "openai",
    ) -> Plan:
        """An error answer; `outcome` is what statistics call it, by default its status."""
        error = in_flavour(error, flavour)
        headers = self._told(headers + error.headers, delay_s, next(self._numbers))
        return Plan(outcome or str(error.status), response(error.status, error.body(), headers), delay_s=delay_s)

    def admitted(self, endpoint: Endpoint, asked: Asked, fault: Fault | None, headers: str, flavour: Flavour) -> Plan:
        """The end of a request that its limits let pass."""
        if asked.is_streamed and (fault is None or fault.mid_stream is not None):
            return self._stream(endpoint, asked, fault, headers, flavour)
        delay_s = self._delay_s(self._config.latency.latency_ms)
        if fault is not None and fault.error is not None:
            return self.refused(fault.error, headers, delay_s=delay_s, flavour=flavour)
        if fault is not None and fault.wire == "reset":
            return Plan("reset", ending="reset", delay_s=delay_s)
        if fault is not None and fault.wire == "hang":
            return Plan("hang", ending="hang", delay_s=self._config.faults.hang_s)
        number = next(self._numbers)
        headers = self._told(headers, delay_s, number)
        if fault is not None and fault.wire == "invalid_json":
            return Plan("invalid_json", response(200, _NO_JSON, headers), delay_s=delay_s)
        if fault is not None and asked.is_streamed:
            return Plan("cut_off", stream_head(headers), "cut_off", delay_s)
        body = answer_body(endpoint, asked, self._config.answers, number)
        payload = response(200, body, headers)
        if fault is not None:
            return Plan("cut_off", payload[: len(payload) - len(body) // 2], "cut_off", delay_s)
        return Plan("200", payload, delay_s=delay_s, succeeded=True)

    def _stream(self, endpoint: Endpoint, asked: Asked, fault: Fault | None, headers: str, flavour: Flavour) -> Plan:
        latency, faults = self._config.latency, self._config.faults
        delay_s = self._delay_s(latency.latency_ms if latency.first_token_ms is None else latency.first_token_ms)
        number = next(self._numbers)
        answer = streamed_answer(endpoint, asked, self._config.answers, number)
        error = fault.error if fault else None
        stream = StreamPlan(
            stream_head(self._told(headers, delay_s, number)),
            answer,
            interval_s=latency.token_interval_ms / 1000,
            fault=fault.mid_stream if fault else None,
            break_after_tokens=faults.break_after_tokens,
            error_event=partial(answer.error_event, in_flavour(error, flavour)) if error else None,
            hang_s=faults.hang_s,
        )
        return Plan(fault.name if fault else "200", delay_s=delay_s, succeeded=fault is None, stream=stream)

    def _delay_s(self, usual_ms: float) -> float:
        most_ms = self._config.latency.jitter_ms
        jitter_ms = self._jitter.uniform(-most_ms, most_ms) if most_ms else 0.0
        return max(usual_ms + jitter_ms, 0.0) / 1000

    def _told(self, headers: str, delay_s: float, number: int) -> str:
        """The headers, with those that every answer has."""
        return f"{headers}x-request-id: req_{number:032x}\r\nopenai-processing-ms: {round(delay_s * 1000)}\r\n"
