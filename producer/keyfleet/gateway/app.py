"""The gateway as an ASGI application."""

from __future__ import annotations

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from keyfleet.api import error_reply
from keyfleet.gateway.admittance import Admittance
from keyfleet.gateway.api_keys import ApiKeys
from keyfleet.gateway.calls import CallEndpoint
from keyfleet.gateway.exchange import Exchange
from keyfleet.gateway.held_bytes import HeldBytes
from keyfleet.gateway.listings import Description, Health, Model, Models, NotFound, Readiness
from keyfleet.gateway.place import GatewayPlace
from keyfleet.gateway.serving_fleet import ServingFleet
from keyfleet.gateway.terms import GatewayTerms

__all__ = ["CALL_PATHS", "Gateway"]

CALL_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
    "/v1/images/generations",
)


class Gateway:
    """OpenAI's API with a fleet behind it, for any ASGI server. Paths are taken with and without `/v1`, since users
    give their clients either base URL."""

    def __init__(self, fleet: ServingFleet, api_keys: ApiKeys, terms: GatewayTerms | None = None) -> None:
        """The fleet stays whoever's it is, who closes it."""
        terms = terms or GatewayTerms()
        place = self._place = GatewayPlace(fleet, Admittance(api_keys), terms, HeldBytes(terms.held_bytes))
        endpoints = {
            **{path: CallEndpoint(path, place) for path in CALL_PATHS},
            "/v1/models": Models(place),
            "/v1/models/{id:path}": Model(place),
        }
        routes = [Route(path, endpoint) for path, endpoint in endpoints.items()]
        routes += [Route(path.removeprefix("/v1"), endpoint) for path, endpoint in endpoints.items()]
        routes += [
            Route("/healthz", Health(place)),
            Route("/readyz", Readiness(place)),
            Route("/openapi.json", Description(place)),
        ]
        self._router = Router(routes, redirect_slashes=False, default=NotFound(linger_s=terms.linger_s))

    def close(self) -> None:
        """Take nothing new any more; what is under way goes on."""
        self._place.is_closing = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application for connections that are too many; the health of the process is told all the same."""
        if scope["path"] == "/healthz":
            await self(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, linger_s=0.0)
        exchange.is_read = True  # nothing more is read, as the connection ends
        headers = {"retry-after": "1", "connection": "close"}
        message = "the gateway has as many connections as it may have (--max-connections)"
        await exchange.reply(
            error_reply(503, message, code="too_many_connections", kind="server_error", headers=headers)
        )
