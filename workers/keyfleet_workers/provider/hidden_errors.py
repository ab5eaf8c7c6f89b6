"""Errors that come with a good status: the status that they should have had."""

from __future__ import annotations

from keyfleet_workers.provider.dialects import Dialect
from keyfleet_workers.provider.error_body import ErrorBody

__all__ = ["hidden_status"]

_STATUSES = {
    400: (
        *("invalid_request_error", "context_length_exceeded", "content_filter", "content_policy_violation"),
        *("BadRequestError", "INVALID_ARGUMENT"),
    ),
    401: ("authentication_error", "UNAUTHENTICATED"),
    402: ("billing_error",),
    403: ("permission_error", "PERMISSION_DENIED"),
    404: ("not_found_error", "NotFoundError", "NOT_FOUND"),
    413: ("request_too_large",),
    429: (
        *("insufficient_quota", "quota_exceeded", "rate_limit_exceeded", "rate_limit_error", "slow_down"),
        *("requests", "tokens", "RESOURCE_EXHAUSTED"),
    ),
    529: ("overloaded_error",),
}
"""The names of errors of OpenAI, Anthropic, Gemini and vLLM whose status is documented with them."""

_STATUS_OF = {name: status for status, names in _STATUSES.items() for name in names}

_REFUSED = 400
"""Stands for the status of an error whose name alone tells what it means."""

_UNKNOWN = 500


def hidden_status(error: ErrorBody, dialect: Dialect) -> int:
    """The status of `error`, which came with 200: its code where that is one (OpenRouter), else as it is named.

    500 where neither says anything: then it may pass.
    """
    if error.code.isdecimal() and 400 <= int(error.code) < 600:
        return int(error.code)
    for name in (error.code, error.kind):
        if name in _STATUS_OF:
            return _STATUS_OF[name]
        if name in dialect.names:
            return _REFUSED
    return _UNKNOWN
