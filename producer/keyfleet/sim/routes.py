"""Which address does what: the API's endpoints, the list of models, and the stand-in's own pages."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

from keyfleet.errors import ConfigurationError
from keyfleet.sim.answers import model_body, models_body
from keyfleet.sim.behaviours import error_for_models
from keyfleet.sim.error_bodies import ApiError, incorrect_api_key, invalid_request, missing_api_key, model_not_found
from keyfleet.sim.flavours import in_flavour, not_of_this_provider
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
    "/v1/moderations": "moderations",
    "/v1/images/generations": "images/generations",
}
_AZURE_PATH = re.compile(
    r"/openai/deployments/([^/?]+)/(completions|chat/completions|embeddings|images/generations)\?api-version=[\w.-]+"
)
_AZURE_UNDATED_PATH = re.compile(r"/openai(/v1/[a-z/]+)(?:\?api-version=preview)?")
_MODELS_PATH = re.compile(r"(?:/v1|/openai|/openai/v1)/models(?:/(.+))?")
_KEYS_PATH = "/sim/keys/"
_USUAL_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small")
"""Listed where the configuration leaves open which models exist."""


class Router:
    """Hands each request to what answers it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def handle(self, request: HttpRequest, connection: HttpConnection) -> None:
        """The handler of the server's connections."""
        path = request.target.partition("?")[0]
        deployment, endpoint = _azure_endpoint(request.target) if path.startswith("/openai/") else (None, None)
        endpoint = endpoint or _ENDPOINTS.get(path)
        if endpoint is not None and request.method == "POST":
            self._provider.call(endpoint, request, connection, deployment)
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
        if request.method == "POST" and parts.path.startswith(_KEYS_PATH):
            return self._set_behaviour(unquote(parts.path.removeprefix(_KEYS_PATH)), request.body)
        listed = _MODELS_PATH.fullmatch(parts.path)
        if request.method == "GET" and listed:
            return self._models(request, unquote(listed[1] or ""))
        if parts.path in _ENDPOINTS:
            return _error(invalid_request(f"Not allowed to {request.method} on {parts.path}", status=405))
        message = f"Invalid URL ({request.method} {parts.path})"
        return _error(invalid_request(message, code="unknown_url", status=404))

    def _requests(self, query: str) -> bytes:
        limit = parse_qs(query).get("limit", [str(RECENT_REQUESTS)])[0]
        if not (limit.isascii() and limit.isdecimal()):
            return _error(invalid_request("limit: expected a whole number", param="limit"))
        return _json({"requests": self._provider.statistics.recent(int(limit))})

    def _set_behaviour(self, name: str, body: bytes) -> bytes:
        try:
            document = json.loads(body)
            behaviour = document["behaviour"]
            self._provider.set_behaviour(name, behaviour)
        except (ValueError, TypeError, LookupError):
            return _error(invalid_request('expected {"behaviour": NAME}', param="behaviour"))
        except ConfigurationError as error:
            return _error(invalid_request(str(error), param=error.setting))
        return _json({"key": name, "behaviour": behaviour})

    def _models(self, request: HttpRequest, model: str) -> bytes:
        key = self._provider.keyring.find(request.api_key) if request.api_key else None
        if key is None:
            return _error(incorrect_api_key(request.api_key) if request.api_key else missing_api_key())
        refused = error_for_models(key.behaviour, request.api_key or "")
        if refused is None and not_of_this_provider(request.target, key.flavour):
            refused = invalid_request(f"Invalid URL (GET {request.target})", code="unknown_url", status=404)
        if refused is not None:
            return _error(in_flavour(refused, key.flavour))
        existing = self._provider.config.models
        if not model:
            return response(200, models_body([one for one in existing or _USUAL_MODELS if key.quota_for(one)]))
        if (existing and model not in existing) or key.quota_for(model) is None:
            return _error(in_flavour(model_not_found(model), key.flavour))
        return response(200, model_body(model))


def _azure_endpoint(target: str) -> tuple[str | None, Endpoint | None]:
    """Deployment and endpoint of Azure's dated interface, or the endpoint alone of its newer one."""
    dated = _AZURE_PATH.fullmatch(target)
    if dated:
        return unquote(dated[1]), _ENDPOINTS[f"/v1/{dated[2]}"]
    undated = _AZURE_UNDATED_PATH.fullmatch(target)
    return None, _ENDPOINTS.get(undated[1]) if undated else None


def _json(document: object) -> bytes:
    return response(200, json.dumps(document).encode())


def _error(error: ApiError) -> bytes:
    return response(error.status, error.body(), error.headers)


def _nothing() -> None:
    """These pages aren't counted."""
