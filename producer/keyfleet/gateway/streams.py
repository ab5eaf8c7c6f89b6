"""Passing a streamed answer on to a client, event by event."""

from __future__ import annotations

from collections.abc import Awaitable

from keyfleet.api import error_event
from keyfleet.api.replies import facts_of
from keyfleet.calls import Answer
from keyfleet.contract import STREAM_BROKEN
from keyfleet.errors import KeyfleetError
from keyfleet.gateway.endpoint import INTERNAL_ERROR, note_failure
from keyfleet.gateway.exchange import Exchange
from keyfleet.gateway.failures import reply_to_answer
from keyfleet.gateway.serving_fleet import StreamedAnswer
from keyfleet.server_sent_events import EVENT_STREAM

__all__ = ["pass_on"]

_HEADERS = {
    "content-type": f"{EVENT_STREAM}; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would collect what is to be seen at once
}


async def pass_on(exchange: Exchange, path: str, beginning: Awaitable[Answer | StreamedAnswer]) -> None:
    """Send the answer as it comes. One that breaks off ends with an error, never in silence and never as if whole.

    Raises the fleet's error where nothing has begun. The call at the provider is stopped when this is cancelled.
    """
    streamed = await beginning
    if isinstance(streamed, Answer):
        await exchange.reply(reply_to_answer(streamed))
        return
    try:
        await exchange.begin(streamed.status, {**_HEADERS, **facts_of(streamed)})
        await _write_events(exchange, path, streamed)
    finally:
        await streamed.aclose()


async def _write_events(exchange: Exchange, path: str, streamed: StreamedAnswer) -> None:
    last = b""
    try:
        async for events in streamed:
            await exchange.write(events)
    except KeyfleetError as error:
        last = error_event(path, str(error), code=getattr(error, "code", STREAM_BROKEN))
    except Exception as error:
        note_failure(error)
        last = error_event(path, "the gateway failed in the midst of the stream", code=INTERNAL_ERROR)
    await exchange.end(last)
