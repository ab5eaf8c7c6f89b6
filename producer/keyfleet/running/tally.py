"""What a run has brought so far, by outcome, reason and key."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from keyfleet.contract import Outcome

__all__ = ["EARLY_STOP_OUTCOMES", "KeyTally", "Tally"]

EARLY_STOP_OUTCOMES = 100
"""When the first so many outcomes are all the same final error, going on would only pay for more of them."""

REASON_CHARACTERS = 160
"""Longest reason in the summary."""


@dataclass(slots=True)
class KeyTally:
    """One key's part in a run."""

    requests: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Tally:
    """Counts of this run's outcomes, without those of earlier runs. Written by one thread, read by any."""

    succeeded: int = 0
    failed: int = 0
    tokens: int = 0
    attempts: int = 0
    by_key: dict[str, KeyTally] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    _first_same: int = 0
    _first_reason: str | None = None
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
                self.reasons[reason_of(outcome)] += 1
            self._note_first(outcome)

    def _note_first(self, outcome: Outcome) -> None:
        """Follow the run of equal final errors of a provider that the outcomes begin with."""
        if self.finished - 1 != self._first_same or outcome.ok or outcome.status is None:
            return
        reason = reason_of(outcome, with_message=False)
        if self._first_reason in (None, reason):
            self._first_reason = reason
            self._first_same += 1

    def early_stop_reason(self) -> str | None:
        """The error that all of the first hundred outcomes had, if so."""
        with self._lock:
            if self._first_same < EARLY_STOP_OUTCOMES:
                return None
            return self.reasons.most_common(1)[0][0]


def reason_of(outcome: Outcome, *, with_message: bool = True) -> str:
    """Why a request failed, short enough to be counted: status, code, and the message's beginning."""
    error = outcome.errors[-1] if outcome.errors else None
    if error is None:
        return str(outcome.status)
    head = f"{error.status} {error.code}" if error.status else error.code
    if not with_message or not error.message or error.status is None:
        return head
    return f"{head}: {error.message}"[:REASON_CHARACTERS]
