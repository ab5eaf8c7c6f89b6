"""Callers of several gateways, each with texts of its own, who go to the next gateway where one doesn't answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import aiohttp

from support.fleets import chat

__all__ = ["GatewayCallers", "Heard"]

ANSWER_S = 40.0
"""A call that takes longer hangs (s)."""

ELSEWHERE_S = 0.05
"""Pause before another gateway is asked (s)."""

How = Literal["under way", "answered", "broken", "closing", "unreached", "cut off", "refused"]


@dataclass
class Heard:
    """One call at one gateway, by its number: what its caller has heard, and how that ended.

    `broken`: the stream ended with an error in OpenAI's shape. `closing`: a 503, as the gateway is about to end.
    `unreached`: there was no connection. `cut off`: it ended before the answer did. `refused`: any other error.
    """

    text: str
    gateway: int
    streams: bool
    answer: str = ""
    how: How = "under way"
    status: int = 0
    error: dict[str, Any] | None = None
    is_done: bool = False
    """Whether the stream said that it is whole."""

    def take(self, line: bytes) -> None:
        """The next line of a stream."""
        data = line.removeprefix(b"data:").strip()
        if not data:
            return
        if data == b"[DONE]":
            self.is_done = True
            return
        document = json.loads(data)
        if document.get("error"):
            self.error = document["error"]
            return
        for choice in document["choices"]:
            self.answer += choice["delta"].get("content") or ""

    @property
    def goes_elsewhere(self) -> bool:
        """Whether another gateway is asked the same."""
        return self.how in ("closing", "unreached", "cut off")


@dataclass
class GatewayCallers:
    """`callers` callers, spread over gateways. Every other call of each is streamed."""

    base_urls: Sequence[str]
    callers: int
    heard: list[Heard] = field(default_factory=list)
    _is_over: bool = False

    def counts(self) -> Counter[str]:
        """How the calls ended."""
        return Counter(one.how for one in list(self.heard))

    def at(self, gateway: int, how: How) -> int:
        """How many calls at a gateway ended, or stand, so."""
        return sum(one.gateway == gateway and one.how == how for one in list(self.heard))

    def stop(self) -> None:
        """Make no further calls. For any thread."""
        self._is_over = True

    async def run(self) -> None:
        """Call until it is stopped; what is under way then goes on to its end. A call that hangs raises."""
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._caller(session, number) for number in range(self.callers)))

    async def _caller(self, session: aiohttp.ClientSession, number: int) -> None:
        for turn in count():
            if self._is_over:
                return
            await self._call(session, f"caller {number} turn {turn}", number % len(self.base_urls), bool(turn % 2))

    async def _call(self, session: aiohttp.ClientSession, text: str, gateway: int, streams: bool) -> None:
        while True:
            heard = Heard(text, gateway, streams)
            self.heard.append(heard)
            await asyncio.wait_for(self._ask(session, heard), ANSWER_S)
            if not heard.goes_elsewhere:
                return
            gateway = (gateway + 1) % len(self.base_urls)
            await asyncio.sleep(ELSEWHERE_S)

    async def _ask(self, session: aiohttp.ClientSession, heard: Heard) -> None:
        body = chat(heard.text, stream=True) if heard.streams else chat(heard.text)
        try:
            async with session.post(f"{self.base_urls[heard.gateway]}/chat/completions", json=body) as reply:
                heard.status = reply.status
                if reply.content_type == "application/json":
                    _take_whole(heard, await reply.json())
                    return
                async for line in reply.content:
                    heard.take(line)
                heard.how = "answered" if heard.is_done else "broken"
        except aiohttp.ClientConnectorError:
            heard.how = "unreached"
        except aiohttp.ClientError:
            heard.how = "answered" if heard.is_done else "cut off"


def _take_whole(heard: Heard, document: dict[str, Any]) -> None:
    if heard.status == 200:
        heard.answer, heard.how = document["choices"][0]["message"]["content"], "answered"
        return
    heard.error = document["error"]
    heard.how = "closing" if (heard.status, document["error"]["code"]) == (503, "shutting_down") else "refused"
