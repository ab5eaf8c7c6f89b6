"""Waiting for what other processes do: a condition is looked at until it holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

T = TypeVar("T")

LOOK_S = 0.02
"""Interval of looking (s)."""


def wait_until(condition: Callable[[], T], what: str, *, timeout_s: float = 30.0) -> T:
    """The first true value of `condition`. Raises AssertionError that says `what` did not happen."""
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (found := condition()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"did not happen within {timeout_s:g} s: {what}")
        pause.wait(LOOK_S)
    return found
