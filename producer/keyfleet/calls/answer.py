"""What a call brings, and how urgent it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from keyfleet.contract import Outcome
from keyfleet.errors import InvalidRequest

__all__ = ["LONGEST_S", "Answer", "Priority", "answer_of", "check_attempts", "check_priority", "is_duration"]

LONGEST_S = 365 * 86_400.0
"""No call takes longer (s); what is longer still can't be counted in milliseconds, or waited for."""

Priority = Literal["urgent", "bulk"]
"""`urgent` overtakes all `bulk` work of its model: jobs, as far as they are not urgent themselves."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's last word: a response, or its final error (`status` 400 or more). `body` is its text as it came.

    `tokens` is the usage that the provider reported, else what was reserved.
    """

    status: int
    body: bytes = field(repr=False)
    key_name: str | None = None
    request_id: str | None = None
    attempts: int = 1
    tokens: int = 0


def answer_of(outcome: Outcome) -> Answer | None:
    """The answer that an outcome holds; None where no provider had the last word."""
    if outcome.status is None or not (outcome.ok or outcome.status >= 400):
        return None
    return Answer(
        outcome.status, outcome.body or b"", outcome.key_name, outcome.request_id, outcome.attempts, outcome.tokens
    )


def check_priority(priority: str) -> bool:
    """Whether `priority` is urgent. Raises InvalidRequest for what is none."""
    if priority not in get_args(Priority):
        raise InvalidRequest(
            f"priority: expected {' or '.join(get_args(Priority))}", code="invalid_priority", field="priority"
        )
    return priority == "urgent"


def check_attempts(max_attempts: int | None) -> int | None:
    """`max_attempts`, if it is a number of attempts, or None. Raises InvalidRequest."""
    if max_attempts is not None and (type(max_attempts) is not int or max_attempts < 1):
        raise InvalidRequest(
            "max_attempts: expected a whole number above 0", code="invalid_attempts", field="max_attempts"
        )
    return max_attempts


def is_duration(duration_s: object) -> bool:
    """Whether it is a number of seconds that can be waited."""
    is_number = isinstance(duration_s, int | float) and not isinstance(duration_s, bool)
    return is_number and math.isfinite(float(duration_s)) and float(duration_s) > 0  # type: ignore[arg-type]
