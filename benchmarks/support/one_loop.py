"""The cookbook's approach, for comparison: one key, one asyncio loop, one task per request.

It behaves as the seed's description of the script says: one line at a time is read and its tokens are counted, a task
is started as soon as the minute's capacity allows (capacity refills evenly), then the loop sleeps for a millisecond;
each answer is appended to the results file, which is opened anew every time. Nothing of it is that script's text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import tiktoken

LOOP_PAUSE_S = 0.001
"""The pause of the main loop between two requests; it bounds the rate to somewhat below 1,000 requests/s."""


@dataclass(slots=True)
class Capacity:
    """What a minute allows, refilled evenly."""

    requests_per_minute: float
    tokens_per_minute: float
    requests: float = 0.0
    tokens: float = 0.0
    updated_s: float = 0.0

    def fits(self, tokens: int) -> bool:
        """Refill, and take one request of `tokens` out if there is room for it."""
        now_s = time.monotonic()
        elapsed_s, self.updated_s = now_s - self.updated_s, now_s
        self.requests = min(self.requests + self.requests_per_minute * elapsed_s / 60, self.requests_per_minute)
        self.tokens = min(self.tokens + self.tokens_per_minute * elapsed_s / 60, self.tokens_per_minute)
        if self.requests < 1 or self.tokens < tokens:
            return False
        self.requests -= 1
        self.tokens -= tokens
        return True


def count_tokens(body: dict[str, Any], encoding_name: str) -> int:
    """Prompt and allowed output of a chat request."""
    encoding = tiktoken.get_encoding(encoding_name)
    prompt = sum(4 + sum(len(encoding.encode(value)) for value in message.values()) for message in body["messages"])
    return prompt + 2 + int(body["max_tokens"])


async def call(session: aiohttp.ClientSession, url: str, body: dict[str, Any], results: Path) -> None:
    """One request, and its line in the results."""
    async with session.post(url, json=body) as response:
        answer = await response.json()
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps([body, answer]) + "\n")


async def run(requests: Path, results: Path, url: str, capacity: Capacity, pause_s: float) -> None:
    """Send every line of `requests`."""
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    tasks: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(headers=headers) as session:
        with requests.open(encoding="utf-8") as lines:
            for line in lines:
                body = json.loads(line)
                tokens = count_tokens(body, "o200k_base")
                while not capacity.fits(tokens):
                    await asyncio.sleep(LOOP_PAUSE_S)
                task = asyncio.create_task(call(session, url, body, results))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(pause_s)
        await asyncio.gather(*tasks)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("url")
    parser.add_argument("--pause-s", type=float, default=LOOP_PAUSE_S, help="pause of the main loop (default: 0.001)")
    given = parser.parse_args()
    asyncio.run(run(given.requests, given.results, given.url, Capacity(1e9, 1e12, 1e9, 1e12), given.pause_s))


if __name__ == "__main__":
    main()
