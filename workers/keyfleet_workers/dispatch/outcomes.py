"""The outcomes that workers write."""

from __future__ import annotations

import time
from dataclasses import replace

from requests.structures import CaseInsensitiveDict

from keyfleet.config import HIDDEN
from keyfleet.contract import CALL_STOPPED, CALLER_GONE, DEADLINE_EXCEEDED, STREAM_BROKEN, AttemptError, Outcome
from keyfleet.ledger import Taken
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.answer_parts import Part
from keyfleet_workers.dispatch.usage import tokens_used
from keyfleet_workers.provider import Answer, Verdict

__all__ = [
    "broken_off",
    "error_of",
    "failure",
    "never_sent",
    "stopped",
    "success",
    "tokens_used",
    "too_large",
    "too_late",
    "unwanted",
    "without_secrets",
]

REQUEST_ID = "x-request-id"
"""The header with the provider's name of a call."""


def without_secrets(answer: Answer, binding: KeyBinding, *, is_error: bool) -> Answer:
    """`answer` as it may be written down: servers repeat what they were given, errors also a part of it.

    A response is only changed where it holds a whole secret, so that nothing of what was paid for is lost.
    """
    body = binding.error_without_traces(answer.body) if is_error else binding.without_secrets(answer.body)
    request_id = answer.headers.get(REQUEST_ID)
    if request_id is None or binding.without_traces(request_id) == request_id:
        return replace(answer, body=body)
    headers = CaseInsensitiveDict(answer.headers)
    headers[REQUEST_ID] = HIDDEN
    return replace(answer, body=body, headers=headers)


def success(taken: Taken, part: Part, answer: Answer, key_name: str) -> Outcome:
    """A response: `part` is what of the answer is this request's."""
    return Outcome(
        id=taken.key,
        ok=True,
        status=answer.status,
        body=part.body,
        attempts=len(taken.attempts) + 1,
        errors=taken.attempts,
        key_name=key_name,
        request_id=answer.headers.get(REQUEST_ID),
        tokens=taken.cost_tokens if part.tokens is None else part.tokens,
        finished_s=time.time(),
    )


def error_of(verdict: Verdict, answer: Answer | None, key_name: str) -> AttemptError:
    """A failed attempt."""
    status = answer.status if answer else None
    return AttemptError(status, verdict.code, verdict.message, key_name, time.time())


def broken_off(verdict: Verdict, answer: Answer | None, key_name: str) -> AttemptError:
    """A streamed answer that ended in its midst."""
    error = error_of(verdict, answer, key_name)
    return replace(error, status=None, code=STREAM_BROKEN, message=f"the answer broke off: {error.message}")


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
        request_id=answer.headers.get(REQUEST_ID) if answer else None,
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


def too_large(taken: Taken) -> Outcome:
    """It fits no key's limits."""
    message = f"the request costs {taken.cost.describe()}, more than any key's limits allow in a whole window"
    calls = len(taken.attempts)
    return never_sent(taken.key, taken.attempts, code="request_too_large", message=message, calls=calls)


def too_late(taken: Taken) -> Outcome:
    """Its deadline has passed."""
    message = "the request could not be started before its deadline"
    return never_sent(taken.key, taken.attempts, code=DEADLINE_EXCEEDED, message=message, calls=len(taken.attempts))


def stopped(taken: Taken) -> Outcome:
    """Its call was stopped."""
    message = "the call was stopped, since nobody waited for its answer any more"
    return never_sent(taken.key, taken.attempts, code=CALL_STOPPED, message=message, calls=len(taken.attempts) + 1)


def unwanted(taken: Taken) -> Outcome:
    """Its caller is gone."""
    message = "nobody waits for the answer any more"
    return never_sent(taken.key, taken.attempts, code=CALLER_GONE, message=message, calls=len(taken.attempts))
