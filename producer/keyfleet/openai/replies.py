"""What the official client gets for a call: an HTTP answer, from an answer or an error of the fleet."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from keyfleet.calls import Answer
from keyfleet.errors import (
    InvalidRequest,
    KeyfleetError,
    NoKeyServes,
    ProviderError,
    RequestTooLarge,
)

__all__ = ["Refused", "Reply", "error_reply", "reply_of", "reply_to_error"]

_NO_RETRY = {"content-type": "application/json", "x-should-retry": "false"}
"""The fleet has done all that is to be done again; the client must not do it on top."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes = field(repr=False)
    headers: dict[str, str]


class Refused(Exception):
    """The call can't be taken; `reply` says so."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


def reply_of(answer: Answer) -> Reply:
    """The provider's answer, with what the fleet knows of it in the headers."""
    more = {
        "x-request-id": answer.request_id,
        "x-keyfleet-key": answer.key_name,
        "x-keyfleet-attempts": str(answer.attempts),
    }
    known = {name: value.encode("ascii", "backslashreplace").decode() for name, value in more.items() if value}
    return Reply(answer.status, answer.body, {**_NO_RETRY, **known})


def reply_to_error(error: KeyfleetError) -> Reply | None:
    """The answer that says the same as `error`; None where the call has simply got no answer.

    A request that can't be sent is a 400, as is one too large for every limit; a model that no key serves is a 404.
    """
    if isinstance(error, ProviderError):
        return reply_of(Answer(error.status or 500, _body_of(error), error.key_name, error.request_id, error.attempts))
    if isinstance(error, InvalidRequest):
        return error_reply(400, str(error), code=error.code, param=error.field)
    if isinstance(error, RequestTooLarge):
        return error_reply(400, str(error), code=error.code)
    if isinstance(error, NoKeyServes):
        return _no_key_serves(error)
    return None


def error_reply(status: int, message: str, *, code: str, param: str | None = None) -> Reply:
    """An error as OpenAI writes it."""
    document = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply(status, json.dumps({"error": document}).encode(), dict(_NO_RETRY))


def _body_of(error: ProviderError) -> bytes:
    return error.body.encode() if isinstance(error.body, str) else json.dumps(error.body).encode()


def _no_key_serves(error: NoKeyServes) -> Reply:
    """OpenAI's own error of an unknown model; but where all keys are refused, that of a key that is."""
    if error.code == NoKeyServes.code:
        return error_reply(404, str(error), code="model_not_found", param="model")
    return error_reply(401, str(error), code=error.code)
