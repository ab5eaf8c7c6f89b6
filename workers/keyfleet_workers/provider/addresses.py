"""Where a call goes: always to the host of the key's base URL, whatever the request says."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from keyfleet.config import Provider

__all__ = ["AzureAddresses", "InvalidEndpoint", "PlainAddresses", "addresses_for", "checked_endpoint"]

_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~:-]*"
_ENDPOINT = re.compile(rf"/?(?![^/]*:){_SEGMENT}(?:/{_SEGMENT})*/?(?:\?api-version=[A-Za-z0-9.-]{{1,40}})?")
"""No scheme, host, user or fragment, no `..`, no empty or encoded part: such a path can only lead downwards. The one
query that an endpoint has is Azure's."""

_AZURE_ENDPOINT = re.compile(rf"/openai/deployments/{_SEGMENT}/[^?]+")
"""An endpoint that names a deployment itself, as Azure's own batch files do."""

_UNDATED_VERSIONS = frozenset({"preview", "latest", "v1"})
"""Versions of Azure's interface under `/openai/v1`; all others are dates."""


class InvalidEndpoint(ValueError):
    """A request's path might lead elsewhere than below the key's base URL. The message doesn't quote it."""


def checked_endpoint(endpoint: str) -> str:
    """`endpoint` with a slash before it. Raises InvalidEndpoint for anything but a plain path."""
    if not _ENDPOINT.fullmatch(endpoint):
        raise InvalidEndpoint("url: expected a plain path such as /v1/chat/completions")
    return endpoint if endpoint.startswith("/") else f"/{endpoint}"


class PlainAddresses:
    """Addresses below a base URL, whose own version stands for an endpoint's `/v1`."""

    needs_model = False
    """Whether the model's name is a part of the address."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._base_path = urlsplit(self._base_url).path

    def url_of(self, endpoint: str, model: str | None = None) -> str:
        """The address of an endpoint path such as `/v1/embeddings`. Raises InvalidEndpoint."""
        path = checked_endpoint(endpoint)
        base_path = self._base_path
        if base_path and path.startswith("/v1/") and not path.startswith(f"{base_path}/"):
            path = path.removeprefix("/v1")
        elif base_path and path.startswith(f"{base_path}/"):
            path = path.removeprefix(base_path)
        return self._base_url + path


class AzureAddresses:
    """Addresses of an Azure OpenAI resource, whose base URL may be any that its documentation shows.

    `https://NAME.openai.azure.com`, the same with `/openai`, and a gateway's address lead to
    `/openai/deployments/MODEL/…?api-version=…`; with `/openai/deployments/MODEL` the model is always that one; with
    `/openai/v1` it is Azure's newer interface, where the model stands in the body and no dated version is asked for
    (https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle).
    """

    def __init__(self, base_url: str, api_version: str | None) -> None:
        parts = urlsplit(base_url.rstrip("/"))
        root, _, below = parts.path.rstrip("/").partition("/openai")
        self._root = f"{parts.scheme}://{parts.netloc}{root}"
        deployment = below.removeprefix("/deployments/") if below.startswith("/deployments/") else None
        self._deployment = deployment or None
        self._query = f"?api-version={quote(api_version, safe='')}" if api_version else ""
        self._is_undated = below == "/v1" or not api_version or api_version in _UNDATED_VERSIONS
        if self._is_undated and api_version not in _UNDATED_VERSIONS:
            self._query = ""
        self.needs_model = not self._is_undated and self._deployment is None

    def url_of(self, endpoint: str, model: str | None = None) -> str:
        """The address of an endpoint path for `model`, the name of a deployment. Raises InvalidEndpoint."""
        path, _, version = checked_endpoint(endpoint).partition("?")
        query = f"?{version}" if version else self._query
        if _AZURE_ENDPOINT.fullmatch(path):
            return f"{self._root}{path}{query}"
        path = path.removeprefix("/openai").removeprefix("/v1")
        if self._is_undated:
            return f"{self._root}/openai/v1{path}{self._query}"
        if path == "/models" or path.startswith("/models/"):
            return f"{self._root}/openai{path}{query}"
        deployment = self._deployment or _deployment(model)
        return f"{self._root}/openai/deployments/{deployment}{path}{query}"


def addresses_for(provider: Provider, base_url: str, api_version: str | None) -> PlainAddresses | AzureAddresses:
    """The addresses of a key's provider."""
    return AzureAddresses(base_url, api_version) if provider == "azure" else PlainAddresses(base_url)


def _deployment(model: str | None) -> str:
    """A model's name as one part of a path."""
    if not model or model.strip(".") == "":
        raise InvalidEndpoint("model: expected the name of a deployment")
    return quote(model, safe="")
