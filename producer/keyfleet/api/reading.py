"""From an HTTP request, as the official clients send it, to a call of the fleet."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from keyfleet.api.replies import Refused, error_reply
from keyfleet.batch.endpoints import split_url
from keyfleet.batch.json_text import Member, NotJSON, join_members, members_of
from keyfleet.calls import Priority, check_priority, is_duration
from keyfleet.calls.spread_sending import SendOptions
from keyfleet.calls.terms import LONGEST_JOB_NAME
from keyfleet.errors import InvalidRequest

__all__ = [
    "ATTEMPTS_HEADER",
    "DEFAULT_MODERATION_MODEL",
    "JOB_HEADER",
    "PRIORITY_HEADER",
    "TIMEOUT_HEADER",
    "FleetCall",
    "read_call",
    "read_options",
    "with_default_model",
]

PRIORITY_HEADER = "X-Keyfleet-Priority"
ATTEMPTS_HEADER = "X-Keyfleet-Max-Attempts"
JOB_HEADER = "X-Keyfleet-Job"
TIMEOUT_HEADER = "X-Keyfleet-Timeout"
"""The caller's own time until the answer, in seconds; the gateway's alone, since Python callers have `timeout`."""

DEFAULT_MODERATION_MODEL = "omni-moderation-latest"
"""The model of moderations that name none (OpenAI's API reference); the fleet finds keys by the model's name."""

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?|\.[0-9]{1,15}")

_WHAT_WORKS = (
    "what goes through the fleet are POST calls with a JSON body: chat.completions, completions, embeddings, "
    "responses, moderations and others that name a model; for all else use openai.OpenAI itself with a key"
)


@dataclass(frozen=True, slots=True)
class FleetCall:
    """The arguments of `Fleet.send`, or of `Fleet.send_stream` where it `streams`."""

    endpoint: str
    body: bytes = field(repr=False)
    options: SendOptions
    streams: bool = False


def read_call(
    method: str, url: str, headers: Mapping[str, str], body: bytes, timeouts_s: Mapping[str, float | None]
) -> FleetCall:
    """`headers` are looked up without regard to case. `timeouts_s` are httpx's; `read` is the one that holds here.

    Raises Refused and InvalidRequest. Headers that are not Keyfleet's have no meaning: a key has its own.
    """
    endpoint = _endpoint(url)
    path = endpoint.partition("?")[0]
    if method != "POST":
        raise Refused(error_reply(404, f"{method} {path} can't be sent: {_WHAT_WORKS}", code="unsupported_endpoint"))
    if body and "json" not in headers.get("content-type", ""):
        message = f"POST {path} has a body that is not JSON: {_WHAT_WORKS}"
        raise Refused(error_reply(400, message, code="unsupported_endpoint"))
    return FleetCall(
        endpoint,
        _with_model(body) if path.endswith("/moderations") else body,
        {**read_options(headers), "timeout_s": _timeout_s(timeouts_s.get("read"))},
        _asks_for_stream(body),
    )


def read_options(headers: Mapping[str, str]) -> SendOptions:
    """What Keyfleet's own headers ask for. Raises InvalidRequest that names the header, never its value."""
    options: SendOptions = {
        "timeout_s": _given_timeout_s(headers.get(TIMEOUT_HEADER)),
        "priority": _priority(headers.get(PRIORITY_HEADER)),
        "max_attempts": _max_attempts(headers.get(ATTEMPTS_HEADER)),
    }
    job = headers.get(JOB_HEADER)
    if job is not None:
        options["job"] = _job(job)
    return options


def with_default_model(members: tuple[Member, ...]) -> tuple[Member, ...]:
    """The members of a moderation's body, with a model where none is named."""
    if any(member.key == "model" and member.value is not None for member in members):
        return members
    return (*members, Member("model", DEFAULT_MODERATION_MODEL, f'"model": "{DEFAULT_MODERATION_MODEL}"'))


def _timeout_s(given_s: float | None) -> float | None:
    """No end is no timeout."""
    return None if given_s == math.inf else given_s


def _endpoint(url: str) -> str:
    try:
        return split_url(url)[1]
    except ValueError as error:
        raise InvalidRequest(f"base_url: {error}", code="invalid_url", field="base_url") from None


def _asks_for_stream(body: bytes) -> bool:
    if b"stream" not in body:
        return False
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False  # the fleet says what is wrong with it
    return isinstance(document, dict) and document.get("stream") is True


def _with_model(body: bytes) -> bytes:
    try:
        members = members_of(body)
    except NotJSON:
        return body
    if members is None:
        return body
    named = with_default_model(members)
    return body if named is members else join_members(named)


def _priority(given: str | None) -> Priority:
    try:
        check_priority(priority := given or "urgent")
    except InvalidRequest as error:
        message = f"{PRIORITY_HEADER}: expected urgent or bulk"
        raise InvalidRequest(message, code=error.code, field=PRIORITY_HEADER) from None
    return cast("Priority", priority)


def _max_attempts(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 10 and int(given) > 0):
        message = f"{ATTEMPTS_HEADER}: expected a whole number of at least 1"
        raise InvalidRequest(message, code="invalid_max_attempts", field=ATTEMPTS_HEADER)
    return int(given)


def _given_timeout_s(given: str | None) -> float | None:
    if given is None:
        return None
    timeout_s = float(given) if _NUMBER.fullmatch(given) else 0.0
    if not is_duration(timeout_s):
        message = f"{TIMEOUT_HEADER}: expected a number of seconds above 0"
        raise InvalidRequest(message, code="invalid_timeout", field=TIMEOUT_HEADER)
    return timeout_s


def _job(given: str) -> str:
    if not (0 < len(given) <= LONGEST_JOB_NAME and given.isascii() and given.isprintable()):
        message = f"{JOB_HEADER}: expected a name of 1 to {LONGEST_JOB_NAME} printable ASCII characters"
        raise InvalidRequest(message, code="invalid_job", field=JOB_HEADER)
    return given
