"""A streamed answer as the HTTP library of the official package reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from keyfleet.api import error_event
from keyfleet.api.replies import NO_RETRY
from keyfleet.calls import StreamedAnswer
from keyfleet.errors import StreamBroken
from keyfleet.openai.official import HTTP
from keyfleet.server_sent_events import EVENT_STREAM

__all__ = ["STREAM_HEADERS", "FleetEvents"]

STREAM_HEADERS = {"content-type": f"{EVENT_STREAM}; charset=utf-8", **NO_RETRY}


class FleetEvents(HTTP.SyncByteStream, HTTP.AsyncByteStream):
    """For both kinds of clients. One that breaks off ends with an error event, which the official client raises."""

    def __init__(self, answer: StreamedAnswer, endpoint: str) -> None:
        self._answer = answer
        self._endpoint = endpoint

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer
        except StreamBroken as error:
            yield error_event(self._endpoint, str(error), code=error.code)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer:
                yield part
        except StreamBroken as error:
            yield error_event(self._endpoint, str(error), code=error.code)

    def close(self) -> None:
        """Read no more of it, which stops the call."""
        self._answer.close()

    async def aclose(self) -> None:
        """As `close`."""
        self._answer.close()
