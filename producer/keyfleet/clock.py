"""Measuring time on one host."""

from __future__ import annotations

import time

__all__ = ["elapsed_s"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_s() -> float:
    """Seconds since some fixed point; never steps back, and counts the time that the host sleeps where it can.

    On macOS, which has no CLOCK_BOOTTIME, the time asleep is not counted.
    """
    return time.clock_gettime(_CLOCK)
