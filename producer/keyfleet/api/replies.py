"""What a client gets for a call: an HTTP answer in OpenAI's shape, from an answer or an error of the fleet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from keyfleet.calls import Answer
from keyfleet.errors import (
    InvalidRequest,
    KeyfleetError,
    NoKeyServes,
    ProviderError,
    RequestTooLarge,
)

__all__ = [
    "NO_RETRY",
    "AnswerFacts",
    "Refused",
    "Reply",
    "error_reply",
    "facts_of",
    "header_text",
    "reply_of",
    "reply_to_error",
]

NO_RETRY = {"x-should-retry": "false"}
"""The fleet has done all that is to be done again; the client must not do it on top."""

HEADER_CHARACTERS = 1000
"""Longest text in a header: the names of all keys that worked on a list may be very many."""

_JSON = {"content-type": "application/json"}
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes = field(repr=False)
    headers: dict[str, str]


class AnswerFacts(Protocol):
    """What an answer tells of its way, whether it is there as a whole or as a stream."""

    @property
    def key_name(self) -> str | None: ...

    @property
    def request_id(self) -> str | None: ...

    @property
    def attempts(self) -> int: ...


class Refused(Exception):
    """The call can't be taken; `reply` says so."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


def reply_of(answer: Answer) -> Reply:
    """The provider's answer, with what the fleet knows of it in the headers."""
    return Reply(answer.status, answer.body, {**_JSON, **NO_RETRY, **facts_of(answer)})


def facts_of(answer: AnswerFacts) -> dict[str, str]:
    """The headers that tell which key has answered, at which attempt, and the provider's name of the request."""
    facts = {
        "x-request-id": answer.request_id,
        "x-keyfleet-key": answer.key_name,
        "x-keyfleet-attempts": str(answer.attempts),
    }
    return {name: header_text(value) for name, value in facts.items() if value}


def header_text(text: str) -> str:
    """`text` as a header can hold it: what is no plain ASCII is escaped, line breaks above all, and much is cut off."""
    return _NOT_PLAIN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)[:HEADER_CHARACTERS].strip()


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


def error_reply(
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    kind: str = "invalid_request_error",
    headers: Mapping[str, str] = NO_RETRY,
) -> Reply:
    """An error as OpenAI writes it; `kind` is its `type`."""
    document = {"message": message, "type": kind, "param": param, "code": code}
    return Reply(status, json.dumps({"error": document}).encode(), {**_JSON, **headers})


def _body_of(error: ProviderError) -> bytes:
    return error.body.encode() if isinstance(error.body, str) else json.dumps(error.body).encode()


def _no_key_serves(error: NoKeyServes) -> Reply:
    """OpenAI's own error of an unknown model; but where all keys are refused, that of a key that is."""
    if error.code == NoKeyServes.code:
        return error_reply(404, str(error), code="model_not_found", param="model")
    return error_reply(401, str(error), code=error.code)
