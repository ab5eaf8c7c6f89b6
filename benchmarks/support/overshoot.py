"""An adversary of rate limiters, and what it got out of them: the fullest trailing window."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

__all__ = ["attack", "fullest_window"]

EARLY_SHARE = 0.02
"""How long before a boundary the adversary strikes, as a share of the window."""


def fullest_window(grants: Iterable[tuple[float, int]], window_s: float) -> int:
    """The most that the grants, (time in s, cost) in order, put into any window (t - window, t]."""
    inside: deque[tuple[float, int]] = deque()
    total = fullest = 0
    for at_s, cost in grants:
        inside.append((at_s, cost))
        total += cost
        while inside[0][0] <= at_s - window_s:
            total -= inside.popleft()[1]
        fullest = max(fullest, total)
    return fullest


def attack(hit: Callable[[int], float | None], window_s: float, *, cost: int, windows: int = 4) -> int:
    """The fullest trailing window that the adversary reaches; `hit(cost)` gives a grant's time (s), or None.

    It opens a window with one hit and rests, takes all it can just before the window ends, and goes on asking as fast
    as it can: a limiter that weighs the last window by its overlap lets the new one fill while the old burst still
    stands. Then it rests until everything has drained, and begins again.
    """
    grants: list[tuple[float, int]] = []

    def ask_until(end_s: float) -> None:
        while time.monotonic() < end_s:
            at_s = hit(cost)
            if at_s is not None:
                grants.append((at_s, cost))

    for _ in range(windows // 2):
        began_s = time.monotonic()
        opened_s = hit(cost)
        if opened_s is not None:
            grants.append((opened_s, cost))
        time.sleep(window_s * (1 - EARLY_SHARE))
        ask_until(began_s + 2.5 * window_s)
        time.sleep(2 * window_s)
    return fullest_window(sorted(grants), window_s)
