"""What is known of endpoints: which field a body must have, which can't be sent as one JSON call, how URLs split."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["deployment_model", "endpoint_for_shape", "join_url", "needed_field", "refusal", "split_url", "suits"]

SHAPES = {"messages": "/v1/chat/completions", "prompt": "/v1/completions", "input": "/v1/embeddings"}
"""The endpoint of a bare body, told by the first of these fields that it has."""

NEEDS = {
    "/chat/completions": "messages",
    "/messages": "messages",
    "/completions": "prompt",
    "/images/generations": "prompt",
    "/embeddings": "input",
    "/moderations": "input",
    "/responses": "input",
}
"""The field that the body for an endpoint must have, by the end of the endpoint's path; longest end first."""

EXPECTED = {
    "messages": "a list of message objects that isn't empty",
    "prompt": "a string, or a list that isn't empty",
    "input": "a string, or a list that isn't empty",
}

REFUSED = (
    (re.compile(r"/audio/speech$"), "answers with sound, not with JSON"),
    (re.compile(r"/(?:files|videos|containers/[^/]+/files)/[^/]+/content$"), "answers with a file, not with JSON"),
    (re.compile(r"/(?:audio/(?:transcriptions|translations)|images/(?:edits|variations)|files|videos|uploads(?:/.*)?)$"),
     "takes a form with files in it, not a JSON body"),
    (re.compile(r"/realtime(?:/.*)?$"), "is a session, not one call"),
)  # fmt: skip
"""Endpoints that a line of JSON can't use, and why: the answer is no JSON document, or the request is none."""

_AZURE = re.compile(r"^(?P<base>.*?)(?P<endpoint>/openai/deployments/(?P<deployment>[^/]+)/.+)$")
_VERSIONED = re.compile(r"^(?P<base>.*/v\d[^/]*)(?P<rest>/.+)$")


def endpoint_for_shape(body: dict[str, Any]) -> str | None:
    return next((endpoint for field, endpoint in SHAPES.items() if field in body), None)


def needed_field(endpoint: str) -> str | None:
    """The field that a body for this endpoint must have, as far as it is known."""
    path = _path(endpoint)
    return next((field for suffix, field in NEEDS.items() if path.endswith(suffix)), None)


def suits(field: str, value: Any) -> bool:
    """Whether a needed field's value is of the kind in `EXPECTED`."""
    if field == "messages":
        return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
    return isinstance(value, str) or (isinstance(value, list) and bool(value))


def refusal(endpoint: str) -> str | None:
    """Why an endpoint can't be used at all, or None."""
    path = _path(endpoint)
    return next((why for pattern, why in REFUSED if pattern.search(path)), None)


def deployment_model(endpoint: str) -> str | None:
    """Azure names the model's deployment in the path rather than in the body."""
    found = _AZURE.match(_path(endpoint))
    return unquote(found["deployment"]) if found else None


def split_url(url: str) -> tuple[str | None, str]:
    """(base URL or None, endpoint) of an endpoint path or a full URL.

    `https://api.openai.com/v1/embeddings` is `https://api.openai.com/v1` and `/v1/embeddings`: a base URL ends where
    the API's own paths begin, and an endpoint is always written as OpenAI writes it, whatever version a host has.
    Azure's `/openai/deployments/...` stays whole, with its query. `join_url` is the way back. Raises ValueError.
    """
    if not url or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("expected an endpoint path or a URL, without blanks")
    if "://" not in url:
        return None, _normal_path(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL that begins with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold a user name or password")
    base, endpoint = _split_path(parts.path)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{base}", endpoint + query


def join_url(base_url: str, endpoint: str) -> str:
    """The full URL: an endpoint's `/v1` is the base URL's own version, all other paths follow the base as they are."""
    return base_url.rstrip("/") + (endpoint[3:] if endpoint.startswith("/v1/") else endpoint)


def _split_path(path: str) -> tuple[str, str]:
    azure = _AZURE.match(path)
    if azure:
        return azure["base"], azure["endpoint"]
    for suffix in NEEDS:
        if path.endswith(suffix):
            return path.removesuffix(suffix), f"/v1{suffix}"
    versioned = _VERSIONED.match(path)
    if versioned:
        return versioned["base"], f"/v1{versioned['rest']}"
    if path in ("", "/"):
        raise ValueError("expected a URL with an endpoint's path, such as https://api.openai.com/v1/embeddings")
    return "", path


def _normal_path(path: str) -> str:
    path = path if path.startswith("/") else f"/{path}"
    return f"/v1{path}" if _path(path) in NEEDS else path


def _path(endpoint: str) -> str:
    return endpoint.partition("?")[0].rstrip("/")
