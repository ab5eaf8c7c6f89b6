"""What a call brings, and how urgent it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from keyfleet.contract import Outcome
from keyfleet.errors import InvalidRequest

__all__ = ["Answer", "Priority", "answer_of", "check_priority"]

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
