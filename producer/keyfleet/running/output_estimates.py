"""How much output to reserve for a request that names no maximum: what answers of its model have lately been."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.clock import elapsed_s
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS

__all__ = ["LARGEST_ESTIMATE_TOKENS", "OutputEstimates"]

MARGIN_DEVIATIONS = 2.0
"""Mean deviations above the mean that are reserved: of outputs that scatter evenly about their mean, nearly all fit."""

LARGEST_ESTIMATE_TOKENS = 4096
"""No guess of ours is larger, since it must not keep a request out of a small limit for ever."""

LOOK_S = 5.0
"""How long a mean is used before it is read again (s)."""

MOST_MODELS = 1_000
"""Models whose means are remembered."""


class OutputEstimates:
    """Reads the moving means that workers keep in Redis. For one thread."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = elapsed_s) -> None:
        """`clock` gives seconds that only go forward."""
        self._client = client
        self._clock = clock
        self._found: dict[str, tuple[float, int]] = {}

    def tokens(self, model: str) -> int:
        """The output that an answer of `model` may be expected to have; an ordinary one's where none is known yet."""
        now_s = self._clock()
        read_s, estimate = self._found.get(model, (-math.inf, ASSUMED_OUTPUT_TOKENS))
        if now_s - read_s < LOOK_S:
            return estimate
        estimate = self._read(model, estimate)
        if model in self._found or len(self._found) < MOST_MODELS:
            self._found[model] = (now_s, estimate)
        return estimate

    def _read(self, model: str, before: int) -> int:
        try:
            text = cast("bytes | None", self._client.hget(redis_keys.outputs(), model))
        except redis.RedisError:
            return before
        try:
            mean, deviation = map(float, (text or b"").split())
            estimate = math.ceil(mean + MARGIN_DEVIATIONS * deviation)
        except (ValueError, OverflowError):  # nothing is known, or what stands there is no mean
            return before
        return max(1, min(estimate, LARGEST_ESTIMATE_TOKENS))
