"""The OpenAPI description of the gateway."""

from __future__ import annotations

from typing import Any

from keyfleet.api.reading import ATTEMPTS_HEADER, JOB_HEADER, PRIORITY_HEADER, TIMEOUT_HEADER
from keyfleet.calls.terms import LONGEST_JOB_NAME
from keyfleet.gateway.schemas import SCHEMAS, schema_of
from keyfleet.server_sent_events import EVENT_STREAM
from keyfleet.version import __version__

__all__ = ["describe"]

_CALLS = (
    ("/v1/chat/completions", "createChatCompletion", "ChatCompletionRequest", "ChatCompletion", True),
    ("/v1/completions", "createCompletion", "CompletionRequest", "Completion", True),
    ("/v1/embeddings", "createEmbedding", "EmbeddingRequest", "Embeddings", False),
    ("/v1/responses", "createResponse", "ResponseRequest", "Response", True),
    ("/v1/moderations", "createModeration", "ModerationRequest", "Moderation", False),
    ("/v1/images/generations", "createImage", "ImageRequest", "Images", True),
)
"""Path, name, body, answer, and whether it can be streamed."""

_REFUSALS = {
    400: "The body is no JSON object, lacks what is needed, or a header is wrong; or the provider refuses it.",
    401: "No API key of this gateway was sent.",
    403: "The gateway has no API key and was asked for by a name that is not this machine's; or the provider refuses.",
    404: "No key serves the model.",
    408: "The head or the body of the request did not come in time.",
    409: "The job was cancelled.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "Nothing could be started in the time that the gateway grants (`--max-wait`) or the client has.",
    431: "The head of the request is too large.",
    500: "The gateway has failed.",
    502: "The provider's answer was lost, as often as it may be asked for.",
    503: "The gateway is shutting down, has too many connections, or its broker is away.",
    504: "The call was sent, and not answered in the time that the client has.",
}

_HEADERS = {
    "x-request-id": ("The provider's name of the request.", {"type": "string"}),
    "x-keyfleet-key": ("Name of the key, or keys, that answered.", {"type": "string"}),
    "x-keyfleet-attempts": ("Calls that were made.", {"type": "string", "pattern": "^[0-9]+$"}),
    "x-should-retry": ("`false`: trying again brings nothing.", {"type": "string", "enum": ["false"]}),
}

_RETRY_AFTER = {
    "retry-after": {
        "description": "Seconds until it may go on.",
        "schema": {"type": "string", "pattern": "^[1-9][0-9]?$"},
    }
}

_PARAMETERS = (
    (PRIORITY_HEADER, "`bulk` calls are overtaken by urgent ones.", {"type": "string", "enum": ["urgent", "bulk"]}),
    (
        TIMEOUT_HEADER,
        "The caller's own time until the answer, in seconds, waiting included.",
        {"type": "string", "pattern": r"^[1-9][0-9]{0,6}(\.[0-9]{1,3})?$"},
    ),
    (ATTEMPTS_HEADER, "Most calls for this request.", {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}),
    (
        JOB_HEADER,
        "Name of the job that the call belongs to.",
        {"type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$", "minLength": 1, "maxLength": LONGEST_JOB_NAME},
    ),
)


def describe(*, asks_for_key: bool) -> dict[str, Any]:
    """The whole document. Every path is there without `/v1`, too."""
    listings: dict[str, Any] = {
        "/v1/models": {"get": _reading("listModels", "The models of all keys", "Models", {})},
        "/v1/models/{id}": {"get": _reading("getModel", "One model", "Model", {404: "There is no such model."})},
        "/healthz": {"get": _reading("getHealth", "The process lives", "Status", None)},
        "/readyz": {"get": _reading("getReadiness", "Calls can be made", "Status", None)},
        "/openapi.json": {"get": _reading("getDescription", "This document", None, {})},
    }
    listings["/v1/models/{id}"]["parameters"] = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    ]
    listings["/readyz"]["get"]["responses"]["503"] = _error("Calls can't be made; who has an API key is told why.")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Keyfleet gateway",
            "version": __version__,
            "description": "OpenAI's API with all keys of a fleet behind it. Paths may be asked for without `/v1`.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}] if asks_for_key else [],
        "paths": {**{path: {"post": _call(path, *more)} for path, *more in _CALLS}, **listings},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _call(path: str, name: Any, body: Any, answer: Any, can_stream: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schema_of(answer)}}
    if can_stream:
        content[EVENT_STREAM] = {"schema": {"type": "string"}}
    headers = {name: {"description": about, "schema": schema} for name, (about, schema) in _HEADERS.items()}
    return {
        "operationId": name,
        "summary": f"Send a call to {path} with one of the keys, or a list with all of them",
        "parameters": [
            {"name": header, "in": "header", "required": False, "description": about, "schema": schema}
            for header, about, schema in _PARAMETERS
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(body)}}},
        "responses": {
            "200": {"description": "The provider's answer.", "headers": headers, "content": content},
            **{str(status): _error(about, status) for status, about in _REFUSALS.items()},
            "default": _error("The provider's final error, with its status and as it has written it."),
        },
    }


def _reading(name: str, summary: str, answer: str | None, refusals: dict[int, str] | None) -> dict[str, Any]:
    """A GET; `refusals` None: it needs no API key."""
    schema = {"type": "object"} if answer is None else schema_of(answer)
    described: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {"application/json": {"schema": schema}}}},
    }
    if refusals is None:
        described["security"] = []
        return described
    usual = {status: _REFUSALS[status] for status in (401, 403, 408, 431, 500, 503)}
    for status, about in {**usual, **refusals}.items():
        described["responses"][str(status)] = _error(about, status)
    return described


def _error(about: str, status: int | None = None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": about,
        "content": {"application/json": {"schema": schema_of("Error")}},
    }
    if status in (429, 503):
        described["headers"] = _RETRY_AFTER
    return described
