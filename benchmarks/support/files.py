"""The files of a benchmark: requests of equal cost, and keys that point at the stand-in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyfleet.sim import SimKey, parse_limits
from keyfleet.tokens import count_request_tokens, counter_for

__all__ = ["ENDPOINT", "MODEL", "BenchmarkKey", "RequestShape", "write_keys", "write_requests"]

MODEL = "gpt-4o-mini"
ENDPOINT = "/v1/chat/completions"
MOST_LINES = 999_999
"""Line numbers stand in the prompts with six digits, which are always two tokens, so that all lines cost the same."""


@dataclass(frozen=True, slots=True)
class RequestShape:
    """Requests that differ only in their number. `words` of filler follow it; `max_tokens` of output are allowed."""

    words: int = 20
    max_tokens: int = 16

    def prompt(self, number: int) -> str:
        """The prompt of one line."""
        return f"Question {number:06d}:" + " why" * self.words

    def body(self, number: int) -> dict[str, Any]:
        """The request of one line."""
        messages = [{"role": "user", "content": self.prompt(number)}]
        return {"model": MODEL, "messages": messages, "max_tokens": self.max_tokens}

    def cost_tokens(self) -> int:
        """What the fleet reserves for each line."""
        counter = counter_for(MODEL)
        costs = {count_request_tokens(ENDPOINT, self.body(n), counter=counter) for n in (1, 99_999, 100_000, 999_998)}
        if len(costs) != 1:
            raise RuntimeError("lines cost different numbers of tokens; is TIKTOKEN_CACHE_DIR set?")
        return costs.pop()

    def bytes_per_token(self, charged_tokens: int) -> float:
        """The stand-in's setting with which it charges exactly `charged_tokens` for each line."""
        prompt_tokens = charged_tokens - self.max_tokens
        return len(self.prompt(1)) / (prompt_tokens - 0.5)


@dataclass(frozen=True, slots=True)
class BenchmarkKey:
    """A key with its limits in the notation of `limits`; none of a kind means no such limit."""

    name: str
    requests: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()

    @property
    def secret(self) -> str:
        """The made-up key."""
        return f"made-up-{self.name}"

    def at_the_stand_in(self) -> SimKey:
        """The key as the stand-in knows it."""
        limits = parse_limits(requests=self.requests, tokens=self.tokens)
        return SimKey(name=self.name, api_key=self.secret, limits=limits)


def write_requests(path: Path, lines: int, shape: RequestShape) -> Path:
    """A file of `lines` bare bodies."""
    if lines > MOST_LINES:
        raise ValueError(f"at most {MOST_LINES} lines, so that their numbers have equal length")
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(shape.body(number)) + "\n" for number in range(1, lines + 1))
    return path


def write_keys(path: Path, keys: Sequence[BenchmarkKey], base_url: str, *, model: str = MODEL) -> Path:
    """A keys file, JSON being YAML. A key without limits gets some that nothing here can reach."""
    entries = []
    for key in keys:
        limits = {"requests": list(key.requests or ("1000000000/minute",))}
        if key.tokens:
            limits["tokens"] = list(key.tokens)
        entry = {"name": key.name, "api_key": key.secret, "base_url": f"{base_url}/v1", "models": {model: limits}}
        entries.append(entry)
    path.write_text(json.dumps({"keys": entries}), encoding="utf-8")
    path.chmod(0o600)
    return path
