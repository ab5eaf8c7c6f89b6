"""The paths of calls: from a request to the fleet, and back with its answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from keyfleet.api import Refused, error_reply
from keyfleet.api.reading import read_options, with_default_model
from keyfleet.batch.endpoints import needed_field
from keyfleet.batch.json_text import decode_object, join_members
from keyfleet.calls import Answer
from keyfleet.calls.spread_sending import SendOptions, send_parts, send_whole
from keyfleet.calls.spreading import may_have_list, spread
from keyfleet.errors import InvalidRequest, KeyfleetError
from keyfleet.gateway.body import read_body, read_members_apart
from keyfleet.gateway.endpoint import Endpoint
from keyfleet.gateway.exchange import ClientGone, Exchange
from keyfleet.gateway.failures import closing_reply, reply_to_answer, reply_to_failure
from keyfleet.gateway.held_bytes import Holding
from keyfleet.gateway.place import GatewayPlace
from keyfleet.gateway.streams import pass_on

__all__ = ["CallEndpoint"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_INPUTS = 10_000
"""Prompts or texts in one list, each of which may become a call. OpenAI takes 2,048 at the most."""


class CallEndpoint(Endpoint):
    """One path of OpenAI's that takes a JSON body; `path` is as OpenAI writes it, with its version."""

    methods = ("POST",)

    def __init__(self, path: str, place: GatewayPlace) -> None:
        super().__init__(linger_s=place.terms.linger_s)
        self._path = path
        self._place = place
        self._is_moderation = path.endswith("/moderations")
        self._list_name = needed_field(path) if may_have_list(path) else None

    async def answer(self, exchange: Exchange) -> None:
        """Queue the call, however long that takes within the terms, and pass its answer on."""
        began_s = time.monotonic()
        try:
            with self._place.held.holding() as holding:
                await self._answer_call(exchange, holding)
        finally:
            if logger.isEnabledFor(logging.DEBUG):
                took_ms = (time.monotonic() - began_s) * 1000
                logger.debug("POST %s: %s after %.1f ms", self._path, exchange.status or "no answer", took_ms)

    async def _answer_call(self, exchange: Exchange, holding: Holding) -> None:
        place = self._place
        place.admittance.check(exchange.headers)
        if place.is_closing:
            raise Refused(closing_reply())
        options = self._options(exchange)
        body = await read_body(exchange, place.terms.max_body_bytes, holding)
        members = await read_members_apart(body, place.readers)
        if self._is_moderation and (named := with_default_model(members)) is not members:
            members, body = named, join_members(named)
        document = decode_object(members)
        is_stream = _is_stream(document)
        self._check_list(document)
        try:
            if is_stream:
                streaming = place.fleet.asend_stream(self._path, body, **options)
                await _until_gone(exchange, pass_on(exchange, self._path, streaming))
            else:
                answer = await _until_gone(exchange, self._send(body, document, options))
                await exchange.reply(reply_to_answer(answer))
        except KeyfleetError as error:
            model = document.get("model")
            await exchange.reply(await reply_to_failure(error, place.fleet, model if isinstance(model, str) else ""))

    def _check_list(self, document: dict[str, Any]) -> None:
        """Raises Refused for a list of too many inputs. One of token numbers is a single input."""
        inputs = document.get(self._list_name) if self._list_name is not None else None
        if isinstance(inputs, list) and len(inputs) > MOST_INPUTS and not isinstance(inputs[0], int):
            message = f"{self._list_name}: expected at most {MOST_INPUTS} in one list"
            raise Refused(error_reply(400, message, code="too_many_inputs", param=self._list_name))

    def _options(self, exchange: Exchange) -> SendOptions:
        try:
            options = read_options(exchange.headers)
        except InvalidRequest as error:
            raise Refused(error_reply(400, str(error), code=error.code, param=error.field)) from None
        options["start_within_s"] = self._place.terms.max_wait_s
        return options

    async def _send(self, body: bytes, document: dict[str, Any], options: SendOptions) -> Answer:
        """The answer; that to a list is put together from its parts', which may be large, and so may the list."""
        fleet = self._place.fleet
        inputs = document.get(self._list_name) if self._list_name is not None else None
        if isinstance(inputs, list) and len(inputs) > 1:
            parts = await asyncio.to_thread(spread, self._path, body, fleet.lanes)
            if parts is not None:
                return await send_parts(fleet, self._path, parts, options)
        return await send_whole(fleet, self._path, body, options)


def _is_stream(document: dict[str, Any]) -> bool:
    wanted = document.get("stream")
    if wanted is not None and not isinstance(wanted, bool):
        raise Refused(error_reply(400, "stream: expected true or false", code="invalid_type", param="stream"))
    return bool(wanted)


async def _until_gone(exchange: Exchange, work: Coroutine[Any, Any, T]) -> T:
    """What `work` brings. It is cancelled when the client leaves, and ClientGone raised once it has ended."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(exchange.gone())
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        leaving.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()
