"""What an answer means for the request and for the key: a pure function of the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from keyfleet_workers.provider.retry_after import wait_asked_ms

__all__ = ["CallFailure", "Verdict", "VerdictKind", "classify", "classify_failure"]


class VerdictKind(Enum):
    """What is to be done with a request after a call."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    """Back to its queue, no attempt spent; the quota cools down."""
    KEY_UNUSABLE = "key_unusable"
    """Back to its queue, no attempt spent; the key rests."""
    UNREACHABLE = "unreachable"
    """Nothing was sent: back to its queue, no attempt spent; the key rests."""
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of one answer. `code` and `message` are the provider's own where it gave any.

    `wait_ms` is how long the provider asks to wait, or what stands in for it; `document` is the parsed JSON answer.
    """

    kind: VerdictKind
    code: str = ""
    message: str = ""
    wait_ms: int | None = None
    document: Any = None


DEFAULT_COOLDOWN_MS = 1000
"""Rest of a quota after a 429 that doesn't say how long (ms)."""

UNUSABLE_REST_MS = 60_000
"""Rest of a key that was refused or is out of credit, before a request tries it again (ms)."""

UNREACHABLE_REST_MS = 2000
"""Rest of a key whose provider can't be reached, before a request tries it again (ms)."""

OUT_OF_CREDIT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "credit_balance_exhausted"})
"""Codes and types of a 429 that no waiting cures (OpenAI's error codes guide)."""

RETRYABLE_STATUSES = frozenset({408, 409, 500, 502, 503, 504, 529})
"""What OpenAI's official client retries, without 429; 529 is Anthropic's `overloaded_error`."""

MAX_MESSAGE_CHARACTERS = 500
"""Longest part of an answer that goes into an error message."""


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now_s: float = 0.0) -> Verdict:
    """The meaning of an answer. `headers` must be case-insensitive or have lower-case names."""
    document = _parse(body)
    if 200 <= status < 300:
        if document is None:
            return Verdict(VerdictKind.RETRYABLE, "invalid_json", "the answer is no JSON object")
        return Verdict(VerdictKind.SUCCESS, document=document)
    code, kind, message = _error_of(document, body)
    wait_ms = wait_asked_ms(headers, now_s=now_s)
    if status == 429 and {code, kind} & OUT_OF_CREDIT_CODES:
        return Verdict(VerdictKind.KEY_UNUSABLE, "out_of_credit", message, UNUSABLE_REST_MS, document)
    if status == 429 or (status == 503 and "slow_down" in (code, kind)):
        cooldown_ms = wait_ms or DEFAULT_COOLDOWN_MS  # a wait of 0 gives none, as for OpenAI's official client
        return Verdict(VerdictKind.RATE_LIMITED, code or "rate_limited", message, cooldown_ms, document)
    if status == 401:
        return Verdict(VerdictKind.KEY_UNUSABLE, code or "invalid_api_key", message, UNUSABLE_REST_MS, document)
    if status in RETRYABLE_STATUSES:
        return Verdict(VerdictKind.RETRYABLE, code or f"http_{status}", message, wait_ms, document)
    return Verdict(VerdictKind.FINAL, code or f"http_{status}", message, document=document)


def classify_failure(failure: CallFailure, message: str) -> Verdict:
    """The meaning of a call that brought no whole answer."""
    if failure is CallFailure.UNREACHABLE:
        return Verdict(VerdictKind.UNREACHABLE, failure.value, message, UNREACHABLE_REST_MS)
    if failure is CallFailure.TIMED_OUT:
        return Verdict(VerdictKind.TIMED_OUT, failure.value, message)
    return Verdict(VerdictKind.RETRYABLE, failure.value, message)


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _error_of(document: dict[str, Any] | None, body: bytes) -> tuple[str, str, str]:
    """(code, type, message) of an error answer; its text where it has none of them."""
    error = document.get("error") if document else None
    if isinstance(error, dict):
        code, kind, message = (error.get(field) for field in ("code", "type", "message"))
        return str(code or kind or ""), str(kind or ""), str(message or "")[:MAX_MESSAGE_CHARACTERS]
    text = str(error) if error else body[: 4 * MAX_MESSAGE_CHARACTERS].decode(errors="replace")
    return "", "", text[:MAX_MESSAGE_CHARACTERS]
