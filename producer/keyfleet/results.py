"""What a caller in Python gets for a request: its response, or the typed error that says why there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from keyfleet.contract import AttemptError, Outcome
from keyfleet.errors import (
    DeadlineExceeded,
    InvalidRequest,
    JobCancelled,
    NoKeyServes,
    ProviderError,
    RequestFailed,
    RequestTooLarge,
    StreamBroken,
)
from keyfleet.ledger.codec import MALFORMED_OUTCOME

__all__ = ["Result", "error_of", "parsed_body", "result_of"]

_OWN_ERRORS: dict[str, type[RequestFailed]] = {
    error.code: error for error in (JobCancelled, NoKeyServes, RequestTooLarge, StreamBroken)
}
_UNREADABLE = frozenset({MALFORMED_OUTCOME, "malformed_entry"})


@dataclass(frozen=True, slots=True)
class Result:
    """The one end of a request.

    `id` is what the caller named it by, `index` its place in the input, from 0. `body` is the response's document (text
    where it is no JSON), None for a failure, whose `error` is ready to be raised. `tokens` is the usage that the
    provider reported, else what was reserved; `finished_s` the time of the end, in seconds since the epoch. `errors`
    are all failed attempts, also of a request that succeeded in the end.
    """

    id: str
    index: int
    ok: bool
    status: int | None
    body: Any = field(repr=False)
    error: RequestFailed | InvalidRequest | None
    attempts: int
    errors: tuple[AttemptError, ...] = ()
    key_name: str | None = None
    request_id: str | None = None
    tokens: int = 0
    finished_s: float = 0.0


def result_of(outcome: Outcome, *, request_id: str, index: int) -> Result:
    """The result of a request that its caller calls `request_id`."""
    return Result(
        id=request_id,
        index=index,
        ok=outcome.ok,
        status=outcome.status,
        body=parsed_body(outcome.body) if outcome.ok else None,
        error=error_of(outcome),
        attempts=outcome.attempts,
        errors=outcome.errors,
        key_name=outcome.key_name,
        request_id=outcome.request_id,
        tokens=outcome.tokens,
        finished_s=outcome.finished_s,
    )


def error_of(outcome: Outcome) -> RequestFailed | InvalidRequest | None:
    """Why a request failed, as an error to be raised; None for a response."""
    if outcome.ok:
        return None
    last = outcome.errors[-1] if outcome.errors else AttemptError(outcome.status, "failed", "failed without a reason")
    history: dict[str, Any] = {"attempts": outcome.attempts, "errors": outcome.errors}
    if outcome.status is not None and outcome.status >= 400:
        return ProviderError(
            f"HTTP {outcome.status} {last.code}: {last.message}",
            status=outcome.status,
            code=last.code,
            body=parsed_body(outcome.body),
            key_name=outcome.key_name,
            request_id=outcome.request_id,
            **history,
        )
    if last.code == DeadlineExceeded.code:
        return DeadlineExceeded(last.message, was_sent=outcome.attempts > 0, **history)
    own = _OWN_ERRORS.get(last.code)
    if own is not None:
        return own(last.message, **history)
    if not outcome.attempts and last.code not in _UNREADABLE:
        return InvalidRequest(last.message, code=last.code)
    return RequestFailed(last.message, code=last.code, **history)


def parsed_body(text: bytes | None) -> Any:
    """A body's document, or its text where it is no JSON; None for none."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", errors="replace")
