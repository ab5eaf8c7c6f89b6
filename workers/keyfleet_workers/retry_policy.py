"""What becomes of a request after a failed attempt: a pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keyfleet.contract import AttemptError
from keyfleet.ledger import JobOptions
from keyfleet_workers.provider.verdict import CallFailure

__all__ = ["Decision", "GiveUp", "RetryLater", "backoff_ms", "decide"]

BASE_DELAY_MS = 1000
"""Backoff after the first failed attempt, before jitter (ms)."""

MAX_DELAY_MS = 60_000
"""Longest backoff (ms)."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again after `delay_ms`."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No attempt is left: a final error."""


Decision = RetryLater | GiveUp


def backoff_ms(failures: int, jitter: float, asked_ms: int | None = None) -> int:
    """Delay after the `failures`-th failed attempt (from 1): min(60 s, 1 s * 2**(failures - 1)) * (0.5 + jitter / 2).

    `jitter` is in [0, 1). The first delays are 0.5 to 1 s, 1 to 2 s, 2 to 4 s, 4 to 8 s. Where the provider asked for
    a longer wait (`asked_ms`), that one counts, up to the longest: it speaks of itself, and another key may be free.
    """
    longest_ms: int = min(MAX_DELAY_MS, BASE_DELAY_MS << min(failures - 1, 16))
    return max(round(longest_ms * (0.5 + jitter / 2)), min(asked_ms or 0, MAX_DELAY_MS))


def decide(
    attempts: Sequence[AttemptError], options: JobOptions, *, jitter: float, asked_ms: int | None = None
) -> Decision:
    """What to do after `attempts` failed, the last of them just now.

    Attempts that timed out have a limit of their own (`timeout_attempts`), as they may have been paid for.
    """
    timeouts = sum(1 for attempt in attempts if attempt.code == CallFailure.TIMED_OUT.value)
    if len(attempts) >= options.max_attempts or timeouts >= options.timeout_attempts:
        return GiveUp()
    return RetryLater(backoff_ms(len(attempts), jitter, asked_ms))
