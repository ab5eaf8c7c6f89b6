"""How long the outputs of each model have been lately, for requests that set no maximum themselves."""

from __future__ import annotations

import threading
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.scripts import Script, load_source

__all__ = ["OutputMeans"]

MOST_KEPT = 256
"""Outputs of one model that are kept until the next flush; more of them would tell no more."""


class OutputMeans:
    """Gathers the tokens of outputs here, and brings them into a moving mean that all hosts share."""

    def __init__(self, client: redis.Redis, *, declare_flags: bool = True) -> None:
        source = load_source(("keyfleet_workers", "note_outputs.lua"), declare_flags=declare_flags)
        self._script = Script(client, source)
        self._lock = threading.Lock()
        self._outputs: dict[str, list[int]] = {}

    def note(self, model: str, document: Any) -> None:
        """Take in an answer's output, where it reports one above zero; of several choices each is an equal part."""
        tokens = _output_tokens(document)
        if tokens:
            with self._lock:
                kept = self._outputs.setdefault(model, [])
                if len(kept) < MOST_KEPT:
                    kept.append(tokens)

    def flush(self) -> None:
        """Bring what was gathered into the shared means. Raises redis.RedisError; what was gathered is then lost."""
        with self._lock:
            gathered, self._outputs = self._outputs, {}
        for model, outputs in gathered.items():
            self._script([redis_keys.outputs()], [model, *outputs])


def _output_tokens(document: Any) -> int | None:
    """`completion_tokens`, or `output_tokens` as the responses endpoint and Anthropic have it."""
    usage = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(usage, dict):
        return None
    tokens = usage.get("completion_tokens", usage.get("output_tokens"))
    choices = document.get("choices")
    count = max(1, len(choices)) if isinstance(choices, list) else 1
    return -(-tokens // count) if isinstance(tokens, int) and tokens >= 0 else None
