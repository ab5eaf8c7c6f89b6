"""What a producer tells the ledger of its job: that it lives, and what failed without ever being accepted."""

from __future__ import annotations

import time
from collections.abc import Callable

from keyfleet.contract import Outcome
from keyfleet.ledger import JobLedger, ProducerWord
from keyfleet.ledger.job_failures import failure_example

__all__ = ["JobVoice"]

SPEAK_S = 0.5
"""Interval of saying so, and of hearing whether the job was cancelled or paused (s)."""


class JobVoice:
    """To be used by one thread. What could not be told is told the next time."""

    def __init__(
        self, ledger: JobLedger, on_cancelled: Callable[[], None], total: Callable[[], int | None] = lambda: None
    ) -> None:
        """`on_cancelled` is told that the job was cancelled, again and again; `total` is how many requests it has, as
        far as that is known."""
        self._ledger = ledger
        self._total = total
        self._on_cancelled = on_cancelled
        self._due_s = 0.0
        self.is_paused = False
        """Whether the job was paused by hand when it was asked last."""
        self._untold: dict[str, tuple[int, str]] = {}

    def note_failure(self, outcome: Outcome) -> None:
        """Count a failure that no worker had a part in. In memory: one example per reason."""
        count, example = self._untold.get(outcome.failure_reason, (0, failure_example(outcome)))
        self._untold[outcome.failure_reason] = (count + 1, example)

    def speak(self) -> None:
        """Tell, and hear whether the job was cancelled or paused, if it is time. Raises redis.RedisError."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + SPEAK_S
        word = self._ledger.say_alive(total=self._total())
        self.is_paused = word is ProducerWord.PAUSED
        if word is ProducerWord.CANCELLED:
            self._on_cancelled()
        self.tell_failures()

    def tell_failures(self) -> None:
        """Tell what was not told yet. Raises redis.RedisError."""
        if self._untold:
            self._ledger.note_failures([(reason, *found) for reason, found in self._untold.items()])
            self._untold.clear()
