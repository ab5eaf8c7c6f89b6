"""One key's way to its provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError, ReadTimeoutError

from keyfleet import __version__
from keyfleet.clock import elapsed_s
from keyfleet_workers.provider.connections import StampingAdapter
from keyfleet_workers.provider.verdict import CallFailure

__all__ = ["Answer", "CallFailed", "ProviderClient", "ReadOnceEnvironment"]

KEPT_CONNECTIONS = 512
"""Idle connections kept to one host; at least the most calls that one worker has under way."""

KEPT_TARGETS = 64
"""Endpoints whose address and proxy are remembered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. Times are on the monotonic clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    written_s: float
    finished_s: float


class CallFailed(Exception):
    """A call brought no whole answer. `written_s` is None when the request was never wholly written."""

    def __init__(self, failure: CallFailure, message: str, written_s: float | None) -> None:
        super().__init__(message)
        self.failure = failure
        self.written_s = written_s


class Credentials(Protocol):
    """What the client needs of a key. `headers()` holds the secret; nothing else does."""

    base_url: str

    @property
    def proxy_url(self) -> str | None: ...

    def headers(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class ReadOnceEnvironment:
    """Proxies and CA bundle from the environment, read once; `.netrc` is never read."""

    proxies: dict[str, str]
    verify: bool | str

    @classmethod
    def for_url(cls, url: str, environ: Mapping[str, str]) -> ReadOnceEnvironment:
        """As `requests` reads HTTP(S)_PROXY, ALL_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE for `url`.

        SSL_CERT_FILE, which OpenSSL's other users know, comes last.
        """
        proxies = requests.utils.get_environ_proxies(url)
        bundles = (environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
        return cls(dict(proxies), next((bundle for bundle in bundles if bundle), True))


class ProviderClient:
    """Sends requests with one key. Safe to be used by many threads."""

    def __init__(self, credentials: Credentials, *, connect_timeout_s: float, environment: ReadOnceEnvironment) -> None:
        self._base_url = credentials.base_url.rstrip("/")
        headers = CaseInsensitiveDict(
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": f"keyfleet/{__version__}",
                **credentials.headers(),
            }
        )
        headers["Content-Length"] = ""
        self._headers = dict(headers)
        self._connect_timeout_s = connect_timeout_s
        proxy_url = credentials.proxy_url
        self._proxies = {"http": proxy_url, "https": proxy_url} if proxy_url else environment.proxies
        self._verify = environment.verify
        self._adapter = StampingAdapter(KEPT_CONNECTIONS)
        self._target = lru_cache(maxsize=KEPT_TARGETS)(self._find_target)

    def url_of(self, endpoint: str) -> str:
        """The address of an endpoint path such as `/v1/embeddings` below the key's base URL."""
        base_path = urlsplit(self._base_url).path
        path = endpoint if endpoint.startswith("/") else f"/{endpoint}"
        if base_path and path.startswith("/v1/") and not path.startswith(f"{base_path}/"):
            path = path.removeprefix("/v1")
        elif base_path and path.startswith(f"{base_path}/"):
            path = path.removeprefix(base_path)
        return self._base_url + path

    def post(self, endpoint: str, body: bytes, *, read_timeout_s: float) -> Answer:
        """Send `body` and read the whole answer. Raises CallFailed."""
        prepared = requests.PreparedRequest()
        prepared.method = "POST"
        prepared.url, proxies = self._target(endpoint)
        prepared.headers = {**self._headers, "Content-Length": str(len(body))}  # type: ignore[assignment] # any mapping
        prepared.body = body
        self._adapter.begin_call()
        try:
            response = self._adapter.send(
                prepared,
                timeout=(self._connect_timeout_s, read_timeout_s),
                verify=self._verify,
                proxies=proxies,
            )
            content = response.content
        except (OSError, HTTPError) as error:  # all of requests' errors are OSErrors
            failure = self._failure(error)
        else:
            written_s = self._adapter.written_s() or elapsed_s()
            return Answer(response.status_code, response.headers, content, written_s, elapsed_s())
        raise failure  # outside of the handler, since the error's context may hold the proxy's password

    def _find_target(self, endpoint: str) -> tuple[str, dict[str, str]]:
        url = self.url_of(endpoint)
        proxy = requests.utils.select_proxy(url, self._proxies)
        return url, {urlsplit(url).scheme: proxy} if proxy else {}

    def _failure(self, error: Exception) -> CallFailed:
        written_s = self._adapter.written_s()
        if not self._adapter.is_begun():
            kind = "proxy" if isinstance(error, requests.exceptions.ProxyError) else "provider"
            return CallFailed(CallFailure.UNREACHABLE, f"the {kind} can't be reached ({_cause(error)})", None)
        if _is_read_timeout(error):
            return CallFailed(CallFailure.TIMED_OUT, "the provider did not answer in time", written_s)
        return CallFailed(CallFailure.CUT_OFF, f"the connection was lost ({_cause(error)})", written_s)

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()


def _is_read_timeout(error: Exception) -> bool:
    """Whether the provider fell silent, before its answer or (which requests calls a ConnectionError) within it."""
    if isinstance(error, requests.exceptions.ReadTimeout | ReadTimeoutError):
        return True
    return any(isinstance(argument, ReadTimeoutError) for argument in error.args)


def _cause(error: BaseException) -> str:
    """The kind of the innermost error: messages of network errors may hold a proxy's password."""
    inner: BaseException = error
    while True:
        following = inner.__cause__ or inner.__context__ or getattr(inner, "reason", None)
        if not isinstance(following, BaseException) and inner.args and isinstance(inner.args[0], BaseException):
            following = inner.args[0]
        if not isinstance(following, BaseException) or following is inner:
            return type(inner).__name__
        inner = following
