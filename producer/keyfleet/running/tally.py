"""What a run has brought so far, by outcome, reason and key."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from keyfleet.contract import Outcome

__all__ = ["EARLY_STOP_OUTCOMES", "MOST_REASONS", "KeyTally", "Tally"]

EARLY_STOP_OUTCOMES = 100
"""When the first so many outcomes are all the same final error, going on would only pay for more of them."""

REASON_CHARACTERS = 160
"""Longest reason in the summary."""

MOST_REASONS = 500
"""Reasons told apart by their messages; of more, only by status and code, as messages may name each request's own."""

OTHER_REASONS = "other errors"
"""What is counted together once even statuses and codes are too many."""


@dataclass(slots=True)
class KeyTally:
    """One key's part in a run."""

    requests: int = 0
    tokens: int = 0


@dataclass(slots=True)
class _FirstOutcomes:
    """The run of equal final errors that the outcomes begin with. What was never sent doesn't count at all."""

    same: int = 0
    reason: str | None = None
    head: str | None = None
    is_over: bool = False

    def note(self, outcome: Outcome) -> None:
        if self.is_over or not (outcome.ok or outcome.attempts):
            return
        head = None if outcome.ok else reason_of(outcome, with_message=False)
        if head is None or (self.same and head != self.head):
            self.is_over = self.same < EARLY_STOP_OUTCOMES
            return
        if not self.same:
            self.head, self.reason = head, reason_of(outcome)
        self.same += 1


@dataclass(slots=True)
class Tally:
    """Counts of this run's outcomes, without those of earlier runs. Written by one thread, read by any."""

    succeeded: int = 0
    failed: int = 0
    tokens: int = 0
    attempts: int = 0
    by_key: dict[str, KeyTally] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    _first: _FirstOutcomes = field(default_factory=_FirstOutcomes)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def finished(self) -> int:
        """Outcomes of both kinds."""
        return self.succeeded + self.failed

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        with self._lock:
            self.attempts += outcome.attempts
            if outcome.ok:
                self.succeeded += 1
                self.tokens += outcome.tokens
                key = self.by_key.setdefault(outcome.key_name or "?", KeyTally())
                key.requests += 1
                key.tokens += outcome.tokens
            else:
                self.failed += 1
                self.reasons[self._counted_reason(outcome)] += 1
            self._first.note(outcome)

    def _counted_reason(self, outcome: Outcome) -> str:
        reason = reason_of(outcome)
        if reason in self.reasons or len(self.reasons) < MOST_REASONS:
            return reason
        head = reason_of(outcome, with_message=False)
        return head if head in self.reasons or len(self.reasons) < 2 * MOST_REASONS else OTHER_REASONS

    def early_stop_reason(self) -> str | None:
        """The error that all of the first hundred outcomes had, if so."""
        with self._lock:
            return self._first.reason if self._first.same >= EARLY_STOP_OUTCOMES else None


def reason_of(outcome: Outcome, *, with_message: bool = True) -> str:
    """Why a request failed, short enough to be counted: status, code, and the message's beginning."""
    error = outcome.errors[-1] if outcome.errors else None
    if error is None:
        return str(outcome.status)
    head = outcome.failure_reason
    if not with_message or not error.message or error.status is None:
        return head
    return f"{head}: {error.message}"[:REASON_CHARACTERS]
