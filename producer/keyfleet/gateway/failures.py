"""From an error of the fleet to the answer that a client gets."""

from __future__ import annotations

import asyncio
import json
import logging
import math

from keyfleet.api import Reply, error_reply, reply_of, reply_to_error
from keyfleet.api.replies import NO_RETRY
from keyfleet.calls import Answer
from keyfleet.calls.unserved import KEYS_REFUSED
from keyfleet.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    FleetClosed,
    JobCancelled,
    KeyfleetError,
    NoKeyServes,
    RequestFailed,
)
from keyfleet.gateway.serving_fleet import ServingFleet

__all__ = ["closing_reply", "reply_to_answer", "reply_to_failure", "unavailable_reply"]

logger = logging.getLogger(__name__)

DEFAULT_RETRY_S = 5
MOST_RETRY_S = 60
"""Bounds what clients are told to wait; the official ones wait no longer anyway."""

SHUTTING_DOWN = "shutting_down"
"""Code of calls that end with the gateway."""

EXCERPT_CHARACTERS = 200
"""So much is shown of a provider's error page."""


def reply_to_answer(answer: Answer) -> Reply:
    """The provider's answer. An error that is no JSON is put into OpenAI's shape."""
    reply = reply_of(answer)
    status = answer.status if 200 <= answer.status <= 599 else 502
    if status < 400 or _is_object(answer.body):
        return Reply(status, reply.body, reply.headers)
    excerpt = " ".join(answer.body[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace").split())[:EXCERPT_CHARACTERS]
    message = f"the provider's last answer was HTTP {answer.status}, and no JSON: {excerpt or '(empty)'}"
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return error_reply(status, message, code="provider_error", kind=kind, headers=reply.headers)


async def reply_to_failure(error: KeyfleetError, fleet: ServingFleet, model: str) -> Reply:
    """The answer to a call that has failed. Raises `error` itself where it is one that no call should meet."""
    if isinstance(error, NoKeyServes) and error.code == KEYS_REFUSED:
        return _server_error(503, str(error), error.code)
    reply = reply_to_error(error)
    if reply is not None:
        return reply
    if isinstance(error, DeadlineExceeded):
        return _server_error(504, str(error), "timeout") if error.was_sent else await _busy(error, fleet, model)
    if isinstance(error, JobCancelled):
        return error_reply(409, str(error), code=error.code)
    if isinstance(error, FleetClosed):
        return _server_error(504, str(error), SHUTTING_DOWN) if error.was_sent else closing_reply()
    if isinstance(error, BrokerUnavailable):
        return unavailable_reply(str(error), "broker_unavailable")
    if isinstance(error, RequestFailed):
        return _server_error(502, str(error), error.code)
    raise error


def closing_reply() -> Reply:
    """The gateway is about to end; where there is another, or a new one, it will answer."""
    return unavailable_reply("the gateway is shutting down", SHUTTING_DOWN, 1)


async def _busy(error: DeadlineExceeded, fleet: ServingFleet, model: str) -> Reply:
    """As a provider says it whose limit is reached, unless nothing can work now; the client may well try again."""
    if trouble := fleet.readiness():
        return unavailable_reply(f"{error} ({trouble}); nothing was paid for it", "not_ready")
    why, wait_s = await asyncio.to_thread(_prospect, fleet, model)
    message = f"{error}{f' ({why})' if why else ''}; nothing was paid for it"
    headers = {"retry-after": str(wait_s)}
    return error_reply(429, message, code="rate_limit_exceeded", kind="requests", headers=headers)


def _prospect(fleet: ServingFleet, model: str) -> tuple[str, int]:
    """Why calls of `model` wait, and for how many whole seconds more."""
    try:
        why, wait_s = fleet.why_waiting(model), fleet.wait_estimate_s(model)
    except KeyfleetError as error:
        logger.debug("nothing is known of the wait (%s)", type(error).__name__)
        return "", DEFAULT_RETRY_S
    return why, DEFAULT_RETRY_S if wait_s is None else min(MOST_RETRY_S, max(1, math.ceil(min(wait_s, MOST_RETRY_S))))


def unavailable_reply(message: str, code: str, retry_s: int = DEFAULT_RETRY_S) -> Reply:
    """Nothing was tried, and later it may go; `retry_s` is what clients are told to wait (s)."""
    return error_reply(503, message, code=code, kind="server_error", headers={"retry-after": str(retry_s)})


def _server_error(status: int, message: str, code: str) -> Reply:
    """The fleet has tried as often as it was allowed to, and may have paid for it."""
    return error_reply(status, message, code=code, kind="server_error", headers=NO_RETRY)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False
