"""One key's way to its provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError, ReadTimeoutError

from keyfleet import __version__
from keyfleet.clock import elapsed_s
from keyfleet.config import Provider
from keyfleet.server_sent_events import EVENT_STREAM
from keyfleet_workers.provider.addresses import InvalidEndpoint, addresses_for
from keyfleet_workers.provider.connections import StampingAdapter
from keyfleet_workers.provider.event_stream import EventStream, is_event_stream
from keyfleet_workers.provider.model_names import model_in, with_model
from keyfleet_workers.provider.ongoing_call import OngoingCall
from keyfleet_workers.provider.verdict import CallFailure

__all__ = ["Answer", "CallFailed", "ProviderClient", "ReadOnceEnvironment"]

KEPT_CONNECTIONS = 512
"""Idle connections kept to one host; at least the most calls that one worker has under way."""

KEPT_TARGETS = 256
"""Endpoints, for each model where that stands in the address, whose address and proxy are remembered."""

ANTHROPIC_VERSION = "2023-06-01"
"""The version of Anthropic's own interface (https://docs.claude.com/en/api/versioning)."""

_BEARER = "Bearer "
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. Times are on the monotonic clock; `begun_s` is when the head of a streamed one was there."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    written_s: float
    finished_s: float
    begun_s: float | None = None


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
    def provider(self) -> Provider: ...

    @property
    def api_version(self) -> str | None: ...

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


class _Call(NamedTuple):
    """A call that is ready to be sent."""

    prepared: requests.PreparedRequest
    proxies: dict[str, str]


class ProviderClient:
    """Sends requests with one key. Safe to be used by many threads.

    A call goes to the host of the key's base URL and through its proxy, or it fails: redirects are not followed, since
    they would take the key elsewhere, and there is no other way round a proxy that is down.
    """

    def __init__(self, credentials: Credentials, *, connect_timeout_s: float, environment: ReadOnceEnvironment) -> None:
        self._addresses = addresses_for(credentials.provider, credentials.base_url, credentials.api_version)
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
        self._own_headers = _own_headers(self._headers) if credentials.provider == "anthropic" else self._headers
        self._connect_timeout_s = connect_timeout_s
        proxy_url = credentials.proxy_url
        self._proxies = {"http": proxy_url, "https": proxy_url} if proxy_url else environment.proxies
        self._verify = environment.verify
        self._adapter = StampingAdapter(KEPT_CONNECTIONS)
        self._target = lru_cache(maxsize=KEPT_TARGETS)(self._find_target)

    def url_of(self, endpoint: str, model: str | None = None) -> str:
        """The address of an endpoint path such as `/v1/embeddings` below the key's base URL.

        `model` is needed where the address names it (Azure). Raises InvalidEndpoint.
        """
        return self._addresses.url_of(endpoint, model)

    def post(
        self,
        endpoint: str,
        body: bytes,
        *,
        read_timeout_s: float,
        model: str | None = None,
        ongoing: OngoingCall | None = None,
    ) -> Answer:
        """Send `body` and read the whole answer. Raises CallFailed.

        `model` is the model's name at the provider, where that is another than the body's, and takes its place. By
        `ongoing` another thread can stop the call.
        """
        call = self._prepared_post(endpoint, body, model, "application/json")
        return self._send(call, read_timeout_s, ongoing)

    def stream(
        self, endpoint: str, body: bytes, *, read_timeout_s: float, model: str | None = None, ongoing: OngoingCall
    ) -> Answer | EventStream:
        """As `post`, for a body that asks for events: the answer as soon as it begins, or whole where it is none of
        events. An EventStream is to be closed, and `ongoing` ended."""
        call = self._prepared_post(endpoint, body, model, f"{EVENT_STREAM}, application/json")
        response = self._open(call, read_timeout_s, ongoing)
        if not is_event_stream(response.status_code, response.headers):
            return self._read_whole(response, call)
        raw = response.raw
        is_delimited = bool(raw.chunked) or raw.length_remaining is not None
        written_s = self._adapter.written_s() or elapsed_s()
        via_proxy = bool(call.proxies)
        return EventStream(
            *(response.status_code, response.headers, written_s, elapsed_s(), is_delimited, raw),
            fail=lambda error: self._failure(error, via_proxy),
        )

    def _prepared_post(self, endpoint: str, body: bytes, model: str | None, accepts: str) -> _Call:
        if model is not None:
            body = with_model(body, model)
        elif self._addresses.needs_model:
            model = model_in(body)
        headers = {**self._headers_for(endpoint), "Accept": accepts, "Content-Length": str(len(body))}
        return self._prepared("POST", endpoint, model, headers, body)

    def get(self, path: str, *, read_timeout_s: float) -> Answer:
        """What stands at `path`, such as `/v1/models`. Raises CallFailed."""
        without = ("Content-Length", "Content-Type")
        headers = {name: value for name, value in self._headers_for(path).items() if name not in without}
        return self._send(self._prepared("GET", path, None, headers, None), read_timeout_s, None)

    def _prepared(
        self, method: str, endpoint: str, model: str | None, headers: dict[str, str], body: bytes | None
    ) -> _Call:
        prepared = requests.PreparedRequest()
        prepared.method = method
        prepared.url, proxies = self._target(endpoint, model if self._addresses.needs_model else None)
        prepared.headers = headers  # type: ignore[assignment] # any mapping will do
        prepared.body = body
        return _Call(prepared, proxies)

    def _send(self, call: _Call, read_timeout_s: float, ongoing: OngoingCall | None) -> Answer:
        return self._read_whole(self._open(call, read_timeout_s, ongoing), call)

    def _open(self, call: _Call, read_timeout_s: float, ongoing: OngoingCall | None) -> requests.Response:
        """Send, and read the answer's head. Raises CallFailed."""
        self._adapter.begin_call(ongoing)
        try:
            return self._adapter.send(
                call.prepared,
                timeout=(self._connect_timeout_s, read_timeout_s),
                verify=self._verify,
                proxies=call.proxies,
            )
        except (OSError, HTTPError) as error:  # all of requests' errors are OSErrors
            failure = self._failure(error, bool(call.proxies))
        raise failure  # outside of the handler, since the error's context may hold the proxy's password

    def _read_whole(self, response: requests.Response, call: _Call) -> Answer:
        try:
            content = response.content
        except (OSError, HTTPError) as error:
            failure = self._failure(error, bool(call.proxies))
        else:
            written_s = self._adapter.written_s() or elapsed_s()
            return Answer(response.status_code, response.headers, content, written_s, elapsed_s())
        raise failure

    def _headers_for(self, endpoint: str) -> dict[str, str]:
        """Anthropic's endpoint for OpenAI's clients takes the key as OpenAI does; its own ones want their own way."""
        return self._headers if endpoint.endswith("/chat/completions") else self._own_headers

    def _find_target(self, endpoint: str, model: str | None) -> tuple[str, dict[str, str]]:
        try:
            url = self.url_of(endpoint, model)
        except InvalidEndpoint as error:
            raise CallFailed(CallFailure.INVALID_ENDPOINT, str(error), None) from None
        proxy = requests.utils.select_proxy(url, self._proxies)
        return url, {urlsplit(url).scheme: proxy} if proxy else {}

    def _failure(self, error: Exception, via_proxy: bool) -> CallFailed:
        written_s = self._adapter.written_s()
        if not self._adapter.is_begun():
            where = "through its proxy" if via_proxy else "from this host"
            message = f"the provider can't be reached {where} ({_tunnel_refusal(error) or _cause(error)})"
            return CallFailed(CallFailure.UNREACHABLE, message, None)
        if _is_read_timeout(error):
            return CallFailed(CallFailure.TIMED_OUT, "the provider did not answer in time", written_s)
        return CallFailed(CallFailure.CUT_OFF, f"the connection was lost ({_cause(error)})", written_s)

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()


def _own_headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers that Anthropic's own interface wants: a Bearer token there is another kind of credential."""
    own = {"anthropic-version": ANTHROPIC_VERSION, **headers}
    token = own.get("Authorization", "")
    if token.startswith(_BEARER):
        del own["Authorization"]
        own.setdefault("x-api-key", token.removeprefix(_BEARER))
    return own


def _is_read_timeout(error: Exception) -> bool:
    """Whether the provider fell silent, before its answer or (which requests calls a ConnectionError) within it."""
    if isinstance(error, requests.exceptions.ReadTimeout | ReadTimeoutError):
        return True
    return any(isinstance(argument, ReadTimeoutError) for argument in error.args)


def _tunnel_refusal(error: BaseException) -> str | None:
    """The status with which a proxy refused to connect to the provider; nothing else of its words."""
    found = _TUNNEL_REFUSED.search(str(error))
    return f"the proxy answered {found[1]}" if found else None


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
