"""How limits are enforced: three kinds of windows, and quotas of several limits at once.

Pure integer arithmetic on times that the caller gives, in nanoseconds of one monotonic clock: exact, so that a test
may assert the very number admitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from keyfleet.sim.config import Kind, LimitOf, SimLimit
from keyfleet.sim.trailing import TrailingSum

__all__ = [
    "FixedWindow",
    "Quota",
    "Refusal",
    "SlidingWindow",
    "Standing",
    "TokenBucket",
    "Window",
    "costs_of",
    "make_window",
]

_NS_PER_S = 1_000_000_000


class Window(Protocol):
    """One limit at work. Costs are in the limit's own unit; times must not go back."""

    amount: int

    def wait_ns(self, now_ns: int, cost: int) -> int:
        """Nanoseconds until `cost` (at most `amount`) fits if nothing else is charged; 0: it fits now."""

    def charge(self, now_ns: int, cost: int) -> None:
        """Count `cost`, whether it fits or not."""

    def remaining(self, now_ns: int) -> int:
        """What could be charged now; never below 0."""

    def reset_ns(self, now_ns: int) -> int:
        """Nanoseconds until the whole amount is there again if nothing else is charged."""


class SlidingWindow:
    """No trailing window (now - window, now] ever holds admissions of more than `amount`."""

    __slots__ = ("_charged", "amount")

    def __init__(self, amount: int, window_ns: int) -> None:
        self.amount = amount
        self._charged = TrailingSum(window_ns)

    def wait_ns(self, now_ns: int, cost: int) -> int:
        return self._charged.wait_until_below_ns(now_ns, self.amount - cost)

    def charge(self, now_ns: int, cost: int) -> None:
        self._charged.add(now_ns, cost)

    def remaining(self, now_ns: int) -> int:
        return max(self.amount - self._charged.expire(now_ns), 0)

    def reset_ns(self, now_ns: int) -> int:
        return self._charged.empty_after_ns(now_ns)


class TokenBucket:
    """A bucket of `amount`, full at first, refilled evenly by `amount` per window, as OpenAI's limits behave.

    From t on it admits at most amount x (1 + elapsed / window). The level is kept in `amount x nanoseconds`, so that
    refilling needs no division and nothing is ever rounded.
    """

    __slots__ = ("_level", "_updated_ns", "_window_ns", "amount")

    def __init__(self, amount: int, window_ns: int) -> None:
        self.amount = amount
        self._window_ns = window_ns
        self._level = amount * window_ns
        self._updated_ns: int | None = None

    def _refill(self, now_ns: int) -> int:
        if self._updated_ns is not None:
            full = self.amount * self._window_ns
            self._level = min(self._level + (now_ns - self._updated_ns) * self.amount, full)
        self._updated_ns = now_ns
        return self._level

    def wait_ns(self, now_ns: int, cost: int) -> int:
        missing = cost * self._window_ns - self._refill(now_ns)
        return -(-missing // self.amount) if missing > 0 else 0

    def charge(self, now_ns: int, cost: int) -> None:
        self._level = max(self._refill(now_ns) - cost * self._window_ns, 0)

    def remaining(self, now_ns: int) -> int:
        return self._refill(now_ns) // self._window_ns

    def reset_ns(self, now_ns: int) -> int:
        return self._window_ns - self._refill(now_ns) // self.amount


class FixedWindow:
    """At most `amount` in each window [n x window, (n + 1) x window) of the clock, as Azure's counters behave.

    Known weakness of the kind, and the reason to have it here: two windows' worth may pass around a boundary.
    """

    __slots__ = ("_charged", "_number", "_window_ns", "amount")

    def __init__(self, amount: int, window_ns: int) -> None:
        self.amount = amount
        self._window_ns = window_ns
        self._number = 0
        self._charged = 0

    def _current(self, now_ns: int) -> int:
        number = now_ns // self._window_ns
        if number != self._number:
            self._number, self._charged = number, 0
        return self._charged

    def wait_ns(self, now_ns: int, cost: int) -> int:
        return 0 if self._current(now_ns) + cost <= self.amount else self._window_ns - now_ns % self._window_ns

    def charge(self, now_ns: int, cost: int) -> None:
        self._charged = self._current(now_ns) + cost

    def remaining(self, now_ns: int) -> int:
        return max(self.amount - self._current(now_ns), 0)

    def reset_ns(self, now_ns: int) -> int:
        return self._window_ns - now_ns % self._window_ns if self._current(now_ns) else 0


_KINDS: dict[Kind, type[SlidingWindow] | type[TokenBucket] | type[FixedWindow]] = {
    "sliding": SlidingWindow,
    "token_bucket": TokenBucket,
    "fixed": FixedWindow,
}


def make_window(kind: Kind, amount: int, window_ns: int) -> Window:
    """A fresh window of a kind."""
    return _KINDS[kind](amount, window_ns)


def costs_of(tokens: int, images: int) -> dict[LimitOf, int]:
    """What one request takes from the limits of each unit."""
    return {"requests": 1, "tokens": tokens, "images": images}


def _quantised(kind: Kind, limit: SimLimit, quantum_s: float) -> Window | None:
    """The same rate in a window of at most `quantum_s` (or of one request, where that takes longer).

    100/minute at 1 s becomes 1 per 0.6 s, 6/minute becomes 1 per 10 s. None where the limit is that short already.
    """
    amount = max(int(limit.amount * quantum_s / limit.window_s), 1)
    if amount >= limit.amount:
        return None
    window_ns = -(-round(limit.window_s * _NS_PER_S) * amount // limit.amount)
    return make_window(kind, amount, window_ns)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request isn't admitted: the limit that makes it wait longest.

    `used` and `requested` are in the limit's unit; where a finer window refuses, `used` is that window's.
    `wait_ns` is None where the request can never fit.
    """

    limit: SimLimit
    used: int
    requested: int
    wait_ns: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the rate-limit headers tell about one limit."""

    limit: SimLimit
    remaining: int
    reset_ns: int


class Quota:
    """Several limits, charged all or nothing."""

    def __init__(
        self, limits: Sequence[SimLimit], *, kind: Kind, quantum_s: float | None = None, refused_counts: bool = False
    ) -> None:
        self.limits = tuple(limits)
        self.kind: Kind = kind
        self._refused_counts = refused_counts
        self._shown = [(limit, make_window(kind, limit.amount, round(limit.window_s * _NS_PER_S))) for limit in limits]
        self._windows = list(self._shown)
        for limit in limits:
            finer = _quantised(kind, limit, quantum_s) if quantum_s and limit.of == "requests" else None
            if finer is not None:
                self._windows.append((limit, finer))

    def admit(self, now_ns: int, tokens: int, images: int = 0) -> Refusal | None:
        """Charge one request of `tokens` and `images`, or nothing at all: None when it is admitted.

        With `refused_counts` a refusal is charged to the limits of requests, as OpenAI says of failed requests
        (help centre, article 5955604: resending continuously doesn't work).
        """
        costs = costs_of(tokens, images)
        refusal = self._refusal(now_ns, costs)
        if refusal is None:
            for limit, window in self._windows:
                if costs[limit.of]:
                    window.charge(now_ns, costs[limit.of])
        elif self._refused_counts:
            for limit, window in self._windows:
                if limit.of == "requests":
                    window.charge(now_ns, 1)
        return refusal

    def _refusal(self, now_ns: int, costs: Mapping[LimitOf, int]) -> Refusal | None:
        worst: Refusal | None = None
        longest_ns = 0
        for limit, window in self._windows:
            cost = costs[limit.of]
            if cost > limit.amount:
                return Refusal(limit, window.amount - window.remaining(now_ns), cost, None)
            wait_ns = window.wait_ns(now_ns, cost)
            if wait_ns > longest_ns:
                longest_ns = wait_ns
                worst = Refusal(limit, window.amount - window.remaining(now_ns), cost, wait_ns)
        return worst

    def standings(self, now_ns: int) -> list[Standing]:
        """For each unit the limit that has least left, as written (never its finer windows)."""
        nearest: dict[str, Standing] = {}
        for limit, window in self._shown:
            remaining = window.remaining(now_ns)
            known = nearest.get(limit.of)
            if known is None or remaining < known.remaining:
                nearest[limit.of] = Standing(limit, remaining, window.reset_ns(now_ns))
        return list(nearest.values())
