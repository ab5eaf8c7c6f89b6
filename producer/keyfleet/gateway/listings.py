"""The paths that only tell something: models, health, and the description of the API."""

from __future__ import annotations

import json
from typing import Any

from keyfleet.api import Refused, Reply, error_reply
from keyfleet.errors import KeyfleetError
from keyfleet.gateway.description import describe
from keyfleet.gateway.endpoint import Endpoint
from keyfleet.gateway.exchange import Exchange
from keyfleet.gateway.failures import reply_to_failure
from keyfleet.gateway.place import GatewayPlace

__all__ = ["Description", "Health", "Model", "Models", "NotFound", "Readiness"]

_JSON = {"content-type": "application/json"}
_FRESH = {**_JSON, "cache-control": "no-store"}


class _PlaceEndpoint(Endpoint):
    def __init__(self, place: GatewayPlace) -> None:
        super().__init__(linger_s=place.terms.linger_s)
        self._place = place


class Models(_PlaceEndpoint):
    """`/v1/models`: the models of all keys."""

    async def answer(self, exchange: Exchange) -> None:
        await exchange.reply(_json_reply({"object": "list", "data": await self._models(exchange)}))

    async def _models(self, exchange: Exchange) -> list[dict[str, Any]]:
        self._place.admittance.check(exchange.headers)
        try:
            return await self._place.fleet.amodels()
        except KeyfleetError as error:
            raise Refused(await reply_to_failure(error, self._place.fleet, "")) from None


class Model(Models):
    """`/v1/models/{id}`: one of them."""

    async def answer(self, exchange: Exchange) -> None:
        wanted = exchange.parameters["id"]
        found = [model for model in await self._models(exchange) if model.get("id") == wanted]
        if not found:
            message = "no key of this fleet serves a model of this name; GET /v1/models lists those that are served"
            raise Refused(error_reply(404, message, code="model_not_found", param="model"))
        await exchange.reply(_json_reply(found[0]))


class Health(_PlaceEndpoint):
    """`/healthz`: the process lives."""

    async def answer(self, exchange: Exchange) -> None:
        await exchange.reply(Reply(200, b'{"status": "ok"}', _FRESH))


class Readiness(_PlaceEndpoint):
    """`/readyz`: calls can be made. Why not is for those alone who may make calls, as it may name keys."""

    async def answer(self, exchange: Exchange) -> None:
        place = self._place
        reason = "the gateway is shutting down" if place.is_closing else _readiness(place)
        if not reason:
            await exchange.reply(Reply(200, b'{"status": "ready"}', _FRESH))
            return
        is_told = place.admittance.is_open or place.admittance.is_known(exchange.headers)
        message = reason if is_told else "not ready"
        raise Refused(error_reply(503, message, code="not_ready", kind="server_error", headers=_FRESH))


class Description(_PlaceEndpoint):
    """`/openapi.json`."""

    def __init__(self, place: GatewayPlace) -> None:
        super().__init__(place)
        self._document = json.dumps(describe(asks_for_key=not place.admittance.is_open)).encode()

    async def answer(self, exchange: Exchange) -> None:
        self._place.admittance.check(exchange.headers)
        await exchange.reply(Reply(200, self._document, dict(_JSON)))


class NotFound(Endpoint):
    """Every other path, whatever the method."""

    async def _answer(self, exchange: Exchange) -> None:
        message = "there is no such path here; GET /openapi.json describes all that there are"
        raise Refused(error_reply(404, message, code="unknown_path"))


def _readiness(place: GatewayPlace) -> str:
    """It waits for nothing, so that the event loop may ask, whatever keeps all threads waiting."""
    try:
        return place.fleet.readiness()
    except KeyfleetError as error:
        return str(error)


def _json_reply(document: dict[str, Any]) -> Reply:
    return Reply(200, json.dumps(document).encode(), dict(_JSON))
