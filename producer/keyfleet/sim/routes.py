"""Which address does what: the API's endpoints, the list of models, and the stand-in's own pages."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, unquote, urlsplit

from keyfleet.sim.answers import model_body, models_body
from keyfleet.sim.error_bodies import ApiError, incorrect_api_key, invalid_request, missing_api_key, model_not_found
from keyfleet.sim.headers import response
from keyfleet.sim.prompts import Endpoint
from keyfleet.sim.protocol import HttpConnection, HttpRequest
from keyfleet.sim.provider import Provider
from keyfleet.sim.statistics import RECENT_REQUESTS

__all__ = ["Router"]

_ENDPOINTS: dict[str, Endpoint] = {
    "/v1/completions": "completions",
    "/v1/chat/completions": "chat/completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
}
_USUAL_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small")
"""Listed where the configuration leaves open which models exist."""


class Router:
    """Hands each request to what answers it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def handle(self, request: HttpRequest, connection: HttpConnection) -> None:
        """The handler of the server's connections."""
        endpoint = _ENDPOINTS.get(request.target.partition("?")[0])
        if endpoint is not None and request.method == "POST":
            self._provider.call(endpoint, request, connection)
        else:
            connection.send(self._page(request), _nothing)

    def _page(self, request: HttpRequest) -> bytes:
        parts = urlsplit(request.target)
        route = (request.method, parts.path)
        if route == ("GET", "/sim/stats"):
            return _json(self._provider.stats())
        if route == ("POST", "/sim/reset"):
            self._provider.reset()
            return _json({"reset": True})
        if route == ("GET", "/sim/requests"):
            return self._requests(parts.query)
        if request.method == "GET" and (parts.path == "/v1/models" or parts.path.startswith("/v1/models/")):
            return self._models(request, unquote(parts.path.removeprefix("/v1/models").lstrip("/")))
        if parts.path in _ENDPOINTS:
            return _error(invalid_request(f"Not allowed to {request.method} on {parts.path}", status=405))
        message = f"Invalid URL ({request.method} {parts.path})"
        return _error(invalid_request(message, code="unknown_url", status=404))

    def _requests(self, query: str) -> bytes:
        limit = parse_qs(query).get("limit", [str(RECENT_REQUESTS)])[0]
        if not (limit.isascii() and limit.isdecimal()):
            return _error(invalid_request("limit: expected a whole number", param="limit"))
        return _json({"requests": self._provider.statistics.recent(int(limit))})

    def _models(self, request: HttpRequest, model: str) -> bytes:
        key = self._provider.keyring.find(request.api_key) if request.api_key else None
        if key is None or key.behaviour == "revoked":
            return _error(incorrect_api_key(request.api_key) if request.api_key else missing_api_key())
        existing = self._provider.config.models
        if not model:
            return response(200, models_body([one for one in existing or _USUAL_MODELS if key.quota_for(one)]))
        if (existing and model not in existing) or key.quota_for(model) is None:
            return _error(model_not_found(model))
        return response(200, model_body(model))


def _json(document: object) -> bytes:
    return response(200, json.dumps(document).encode())


def _error(error: ApiError) -> bytes:
    return response(error.status, error.body(), error.headers)


def _nothing() -> None:
    """These pages aren't counted."""
