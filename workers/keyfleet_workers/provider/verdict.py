"""What an answer can mean for the request and for the key."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from keyfleet.config import Unit

__all__ = ["CallFailure", "SaidLimit", "Verdict", "VerdictKind", "classify_failure"]


class VerdictKind(Enum):
    """What is to be done with a request after a call."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    """Back to its queue, no attempt spent; the quota cools down."""
    TOO_LARGE = "too_large"
    """Larger than a limit of this key: to a key with a larger one, else final. No cooldown."""
    OUT_OF_CREDIT = "out_of_credit"
    """Back, no attempt spent; the account is empty, and no waiting of minutes cures that."""
    REVOKED = "revoked"
    """Back, no attempt spent; the provider doesn't take the key any more."""
    MODEL_LOST = "model_lost"
    """Back where another key serves the model, else final; the key doesn't serve it (any more)."""
    UNREACHABLE = "unreachable"
    """Back, no attempt spent; from this host, or through this proxy, the provider can't be used."""
    RETRYABLE = "retryable"
    """One attempt spent, then backoff."""
    TIMED_OUT = "timed_out"
    """As retryable, with fewer attempts: the call may have been paid for."""
    FINAL = "final"
    """A final error."""


class CallFailure(Enum):
    """How a call ended without a whole answer."""

    UNREACHABLE = "unreachable"
    TIMED_OUT = "timeout"
    CUT_OFF = "connection_lost"
    INVALID_ENDPOINT = "invalid_endpoint"
    """It was never begun: its path might have led elsewhere than to the key's provider."""


@dataclass(frozen=True, slots=True)
class SaidLimit:
    """A limit as an error's message tells it: `amount` of `unit` in `window_s` seconds, `requested` by this request.

    `requested` is None where the message doesn't say.
    """

    unit: Unit
    amount: int
    window_s: int
    requested: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of one answer. `code` and `message` are the provider's own where it gave any.

    `wait_ms` is how long the provider asks to wait, or what stands in for it; `document` is the parsed JSON answer,
    None where it is no JSON object. `slow_down`: the rate itself is to come down for a while. `is_day_limit`: the
    limit that refused is one per day. `limit` is the limit that the message names; with TOO_LARGE it is None where the
    provider says only that the request will never fit. `is_own_budget`, with OUT_OF_CREDIT: what is spent is a limit
    of the key's own project, while the account's other keys go on.
    """

    kind: VerdictKind
    code: str = ""
    message: str = field(default="", repr=False)
    wait_ms: int | None = None
    document: Any = field(default=None, repr=False)
    slow_down: bool = False
    is_day_limit: bool = False
    limit: SaidLimit | None = None
    is_own_budget: bool = False


DEFAULT_COOLDOWN_MS = 1000
"""Rest of a quota after a 429 that doesn't say how long (ms)."""

DAY_LIMIT_REST_MS = 600_000
"""The same where it is a limit of a day, of which a little may be free again at any time (ms)."""

UNUSABLE_REST_MS = 60_000
"""Rest of a key that was refused or is out of credit, before it is asked again (ms)."""

UNREACHABLE_REST_MS = 2000
"""Rest of a key whose provider can't be reached, before it is tried again (ms)."""


def classify_failure(failure: CallFailure, message: str) -> Verdict:
    """The meaning of a call that brought no whole answer."""
    if failure is CallFailure.UNREACHABLE:
        return Verdict(VerdictKind.UNREACHABLE, failure.value, message, UNREACHABLE_REST_MS)
    if failure is CallFailure.TIMED_OUT:
        return Verdict(VerdictKind.TIMED_OUT, failure.value, message)
    if failure is CallFailure.INVALID_ENDPOINT:
        return Verdict(VerdictKind.FINAL, failure.value, message)
    return Verdict(VerdictKind.RETRYABLE, failure.value, message)
