"""The shortest time in which exact sliding windows let a number of equal requests start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["KeyCapacity", "most_started", "shortest_start_s"]


@dataclass(frozen=True, slots=True)
class KeyCapacity:
    """One key's limits as (requests per window, window in s). A limit of tokens allows as many as its amount holds."""

    limits: tuple[tuple[int, float], ...]

    @classmethod
    def of(
        cls, requests: Sequence[tuple[int, float]], tokens: Sequence[tuple[int, float]], cost_tokens: int
    ) -> KeyCapacity:
        """Limits as (amount, window in s), for requests that cost `cost_tokens` each."""
        return cls((*requests, *((amount // cost_tokens, window_s) for amount, window_s in tokens)))

    def started_by(self, at_s: float) -> int:
        """The most requests that may have started by `at_s`, the first at 0.

        Any trailing window of W holds at most A, so A may start at 0, A more at W, and so on: A x (floor(t / W) + 1).
        Of several limits the least counts; with windows of different lengths that is an upper bound.
        """
        return min(amount * (int(at_s / window_s + 1e-9) + 1) for amount, window_s in self.limits)


def most_started(keys: Sequence[KeyCapacity], at_s: float) -> int:
    """The most requests that all keys together may have started by `at_s`."""
    return sum(key.started_by(at_s) for key in keys)


def shortest_start_s(keys: Sequence[KeyCapacity], requests: int) -> float:
    """The earliest time at which the last of `requests` can start; capacity grows only at multiples of the windows.

    Raises ValueError for a key whose limits admit nothing.
    """
    if any(amount < 1 for key in keys for amount, _ in key.limits):
        raise ValueError("a limit admits no request at all")
    at_s = 0.0
    windows = {window_s for key in keys for _, window_s in key.limits}
    while most_started(keys, at_s) < requests:
        at_s = min((int(at_s / window_s + 1e-9) + 1) * window_s for window_s in windows)
    return at_s
