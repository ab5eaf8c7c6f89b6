"""A fleet behind a gateway that answers by a function of its test."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from keyfleet.calls import Answer

__all__ = ["FakeStream", "SentCall", "ServedFleet", "chat_answer"]


@dataclass(frozen=True)
class SentCall:
    """One call, as the fleet was given it."""

    endpoint: str
    raw: bytes
    options: dict[str, Any]
    streamed: bool = False

    @property
    def body(self) -> Any:
        """The document."""
        return json.loads(self.raw)


def chat_answer(sent: SentCall) -> Answer:
    """A provider's answer to any call, as far as the list of its inputs goes."""
    inputs = sent.body.get("input", sent.body.get("prompt"))
    is_list = isinstance(inputs, list) and all(isinstance(one, str | list) for one in inputs)
    count = max(1, len(inputs)) if is_list else 1
    rows = [{"index": number, "text": "Hello", "embedding": [0.5]} for number in range(count)]
    document = {"id": "x", "choices": rows, "data": rows, "results": rows, "usage": {"total_tokens": count}}
    return Answer(200, json.dumps(document).encode(), "key-1", "req-1", 2, 7)


@dataclass
class FakeStream:
    """A streamed answer whose pieces come from a test's own generator. `closed`: the call was stopped."""

    pieces: AsyncIterator[bytes]
    status: int = 200
    key_name: str | None = "key-1"
    request_id: str | None = "req-1"
    attempts: int = 1
    closed: threading.Event = field(default_factory=threading.Event)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.pieces

    async def aclose(self) -> None:
        self.closed.set()


Reply = Callable[[SentCall], Any]
"""Gives an answer, an awaitable of one, or raises the fleet's error."""


class ServedFleet:
    """`sent` are the calls so far, `cancelled` those of them that were given up."""

    def __init__(self, reply: Reply = chat_answer, *, lanes: int = 1) -> None:
        self.reply = reply
        self.sent: list[SentCall] = []
        self.cancelled: list[SentCall] = []
        self.models: list[dict[str, Any]] = [
            {"id": name, "object": "model", "created": 0, "owned_by": "keyfleet"} for name in ("gpt", "org/gpt/large")
        ]
        self.wait_s: float | None = 7.2
        self.reason = ""
        self._lanes = lanes

    async def asend(self, endpoint: str, body: bytes, **options: Any) -> Answer:
        answer: Answer = await self._answer(SentCall(endpoint, body, options))
        return answer

    async def asend_stream(self, endpoint: str, body: bytes, **options: Any) -> Any:
        return await self._answer(SentCall(endpoint, body, options, streamed=True))

    async def _answer(self, sent: SentCall) -> Any:
        self.sent.append(sent)
        try:
            found = self.reply(sent)
            return await found if inspect.isawaitable(found) else found
        except asyncio.CancelledError:
            self.cancelled.append(sent)
            raise

    def lanes(self, model: str) -> int:
        return self._lanes

    async def amodels(self) -> list[dict[str, Any]]:
        return self.models

    def wait_estimate_s(self, model: str) -> float | None:
        return self.wait_s

    def why_waiting(self, model: str) -> str:
        return f"the limits of {model} are reached"

    def readiness(self) -> str:
        return self.reason

    def close(self) -> None:
        """Nothing is left of a made-up fleet."""
