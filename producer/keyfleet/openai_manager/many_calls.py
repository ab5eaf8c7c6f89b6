"""Sends one call for each entry of a list, a bounded number of them at once, and keeps their order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keyfleet.calls import Priority
from keyfleet.calls.spread_sending import SendsCalls
from keyfleet.errors import InvalidRequest, RequestFailed
from keyfleet.openai_manager.responses import FailedResponse, Response, response_of

__all__ = ["send_all"]


async def send_all(
    fleet: SendsCalls,
    endpoint: str,
    bodies: Sequence[Mapping[str, Any]],
    *,
    most_at_once: int,
    on_end: Callable[[], None] = lambda: None,
) -> list[Response]:
    """A response, or a FailedResponse, for each of `bodies`, in their order. `on_end` is told of each that is over.

    Several are bulk work, which urgent calls overtake. Raises what concerns them all: BrokerUnavailable, FleetClosed,
    ConfigurationError; the others are then taken back, unpaid as far as they have not been sent.
    """
    priority: Priority = "bulk" if len(bodies) > 1 else "urgent"
    ends: dict[int, Response] = {}
    left = iter(range(len(bodies)))

    async def send_next() -> None:
        for number in left:
            ends[number] = await _send(fleet, endpoint, bodies[number], priority)
            on_end()

    senders = [asyncio.ensure_future(send_next()) for _ in range(min(most_at_once, len(bodies)))]
    try:
        await asyncio.gather(*senders)
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    return [ends[number] for number in range(len(bodies))]


async def _send(fleet: SendsCalls, endpoint: str, body: Mapping[str, Any], priority: Priority) -> Response:
    try:
        return response_of(await fleet.asend(endpoint, _text(body), priority=priority))
    except (RequestFailed, InvalidRequest) as error:
        return FailedResponse(error)


def _text(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: is no JSON: {error}", code="invalid_json", field="body") from None
