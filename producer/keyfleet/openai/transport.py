"""The HTTP clients of the official package that have the fleet in the place of a network."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NoReturn

from keyfleet.api.reading import FleetCall, read_call
from keyfleet.api.replies import Refused, Reply, facts_of, reply_of, reply_to_error
from keyfleet.calls import Answer, StreamedAnswer
from keyfleet.calls.apart import run_apart
from keyfleet.calls.spread_sending import halves, send_parts, send_whole, with_time_left
from keyfleet.calls.spreading import may_have_list, spread
from keyfleet.errors import DeadlineExceeded, KeyfleetError, RequestTooLarge
from keyfleet.openai.events import STREAM_HEADERS, FleetEvents
from keyfleet.openai.fleet_source import CallFleet, FleetSource
from keyfleet.openai.official import HTTP

__all__ = ["AsyncFleetClient", "SyncFleetClient"]


class SyncFleetClient(HTTP.Client):
    """The client of one fleet. Proxies of the environment have no meaning here: they stand at the keys."""

    def __init__(self, source: FleetSource) -> None:
        super().__init__(transport=_SyncTransport(source), trust_env=False, timeout=None)


class AsyncFleetClient(HTTP.AsyncClient):
    """The same for coroutines."""

    def __init__(self, source: FleetSource) -> None:
        super().__init__(transport=_AsyncTransport(source), trust_env=False, timeout=None)


class _SyncTransport(HTTP.BaseTransport):
    def __init__(self, source: FleetSource) -> None:
        self._source = source

    def handle_request(self, request: Any) -> Any:
        try:
            call = _call_of(request, request.read())
            return _answered(self._send_stream(call) if call.streams else self._send(call), call, request)
        except Refused as refused:
            return _response(refused.reply, request)
        except KeyfleetError as error:
            return _response(_reply_or_raise(error, request), request)

    def _send_stream(self, call: FleetCall) -> Answer | StreamedAnswer:
        return self._source.get().send_stream(call.endpoint, call.body, **call.options)

    def _send(self, call: FleetCall) -> Answer:
        fleet = self._source.get()
        parts = spread(call.endpoint, call.body, fleet.lanes)
        options, began_s = call.options, time.monotonic()
        if parts is None:
            try:
                return fleet.send(call.endpoint, call.body, **options)
            except RequestTooLarge:
                parts, options = halves(call.endpoint, call.body), with_time_left(options, began_s)
                if parts is None:
                    raise
        return run_apart(send_parts(fleet, call.endpoint, parts, options))

    def close(self) -> None:
        self._source.close()


class _AsyncTransport(HTTP.AsyncBaseTransport):
    def __init__(self, source: FleetSource) -> None:
        self._source = source
        self._is_made = False

    async def handle_async_request(self, request: Any) -> Any:
        try:
            call = _call_of(request, await request.aread())
            return _answered(await (self._send_stream(call) if call.streams else self._send(call)), call, request)
        except Refused as refused:
            return _response(refused.reply, request)
        except KeyfleetError as error:
            return _response(_reply_or_raise(error, request), request)

    async def _send(self, call: FleetCall) -> Answer:
        """`lanes` may have to start the fleet, and lists may be long: none of this may hold up the event loop."""
        fleet = await self._fleet()
        parts = None
        if may_have_list(call.endpoint):
            parts = await asyncio.to_thread(spread, call.endpoint, call.body, fleet.lanes)
        if parts is None:
            return await send_whole(fleet, call.endpoint, call.body, call.options)
        return await send_parts(fleet, call.endpoint, parts, call.options)

    async def _send_stream(self, call: FleetCall) -> Answer | StreamedAnswer:
        return await (await self._fleet()).asend_stream(call.endpoint, call.body, **call.options)

    async def _fleet(self) -> CallFleet:
        """Making it imports much, which must not hold up the event loop."""
        if not self._is_made:
            await asyncio.to_thread(self._source.get)
            self._is_made = True
        return self._source.get()

    async def aclose(self) -> None:
        await asyncio.to_thread(self._source.close)


def _call_of(request: Any, body: bytes) -> FleetCall:
    return read_call(request.method, str(request.url), request.headers, body, request.extensions.get("timeout") or {})


def _answered(answer: Answer | StreamedAnswer, call: FleetCall, request: Any) -> Any:
    if isinstance(answer, Answer):
        return _response(reply_of(answer), request)
    events = FleetEvents(answer, call.endpoint)
    return HTTP.Response(answer.status, headers={**STREAM_HEADERS, **facts_of(answer)}, stream=events, request=request)


def _response(reply: Reply, request: Any) -> Any:
    return HTTP.Response(reply.status, headers=reply.headers, content=reply.body, request=request)


def _reply_or_raise(error: KeyfleetError, request: Any) -> Reply:
    reply = reply_to_error(error)
    if reply is None:
        _raise_as_http(error, request)
    return reply


def _raise_as_http(error: KeyfleetError, request: Any) -> NoReturn:
    """As the errors of the HTTP library that mean the same, since the official client knows only these.

    Of its timeouts the official release 1.0 passes a ReadTimeout on as it is.
    """
    kind = HTTP.ConnectTimeout if isinstance(error, DeadlineExceeded) else HTTP.ConnectError
    raise kind(str(error), request=request) from error
