"""What a producer tells the ledger of its job: that it lives, and what failed without ever being accepted."""

from __future__ import annotations

import time
from collections.abc import Callable

from keyfleet.contract import Outcome
from keyfleet.ledger import JobLedger, ProducerWord
from keyfleet.ledger.job_failures import failure_example

__all__ = ["JobVoice"]

SPEAK_S = 0.5
"""Interval of saying so, and of hearing whether the job was cancelled (s)."""


class JobVoice:
    """To be used by one thread. What could not be told is told the next time."""

    def __init__(self, ledger: JobLedger, on_cancelled: Callable[[], None]) -> None:
        self._ledger = ledger
        self._on_cancelled = on_cancelled
        self._due_s = 0.0
        self._untold: dict[str, tuple[int, str]] = {}

    def note_failure(self, outcome: Outcome) -> None:
        """Count a failure that no worker had a part in. In memory: one example per reason."""
        count, example = self._untold.get(outcome.failure_reason, (0, failure_example(outcome)))
        self._untold[outcome.failure_reason] = (count + 1, example)

    def speak(self) -> None:
        """Tell, and hear whether the job was cancelled, if it is time. Raises redis.RedisError."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + SPEAK_S
        if self._ledger.say_alive() is ProducerWord.CANCELLED:
            self._on_cancelled()
        self.tell_failures()

    def tell_failures(self) -> None:
        """Tell what was not told yet. Raises redis.RedisError."""
        if self._untold:
            self._ledger.note_failures([(reason, *found) for reason, found in self._untold.items()])
            self._untold.clear()
