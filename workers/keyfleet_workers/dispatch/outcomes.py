"""The outcomes that workers write."""

from __future__ import annotations

import time
from typing import Any

from keyfleet.contract import AttemptError, Outcome
from keyfleet.ledger import Taken
from keyfleet_workers.provider import Answer, Verdict

__all__ = ["error_of", "failure", "never_sent", "success", "tokens_used"]


def success(taken: Taken, verdict: Verdict, answer: Answer, key_name: str) -> Outcome:
    """A response."""
    return Outcome(
        id=taken.key,
        ok=True,
        status=answer.status,
        body=answer.body,
        attempts=len(taken.attempts) + 1,
        errors=taken.attempts,
        key_name=key_name,
        request_id=answer.headers.get("x-request-id"),
        tokens=tokens_used(verdict.document) or taken.cost_tokens,
        finished_s=time.time(),
    )


def error_of(verdict: Verdict, answer: Answer | None, key_name: str) -> AttemptError:
    """A failed attempt."""
    status = answer.status if answer else None
    return AttemptError(status, verdict.code, verdict.message, key_name, time.time())


def failure(
    taken: Taken, attempts: tuple[AttemptError, ...], verdict: Verdict, answer: Answer | None, key_name: str
) -> Outcome:
    """A final error, after the failed `attempts`, the last of them just now."""
    return Outcome(
        id=taken.key,
        ok=False,
        status=answer.status if answer else None,
        body=answer.body if answer and verdict.document is not None else None,
        attempts=len(attempts),
        errors=attempts,
        key_name=key_name,
        request_id=answer.headers.get("x-request-id") if answer else None,
        finished_s=time.time(),
    )


def never_sent(key: str, attempts: tuple[AttemptError, ...], *, code: str, message: str, calls: int) -> Outcome:
    """A final error of our own, for a request that is not sent (again). `calls` counts those that were."""
    error = AttemptError(None, code, message, at_s=time.time())
    return Outcome(
        id=key,
        ok=False,
        status=None,
        body=None,
        attempts=calls,
        errors=(*attempts, error),
        finished_s=time.time(),
    )


def tokens_used(document: Any) -> int | None:
    """The usage that an answer reports: `usage.total_tokens` in all of OpenAI's answers; None where it has none."""
    usage = document.get("usage") if isinstance(document, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total >= 0 else None
