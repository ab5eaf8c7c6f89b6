"""What an answer means for the request and for the key: a pure function of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from keyfleet.config import Provider
from keyfleet_workers.provider.dialects import DIALECTS
from keyfleet_workers.provider.error_body import ErrorBody, error_body, holds_error, is_html, read_document
from keyfleet_workers.provider.hidden_errors import hidden_status
from keyfleet_workers.provider.refused_rate import Refusal, payment_verdict, rate_verdict, volume_verdict
from keyfleet_workers.provider.retry_after import wait_asked_ms
from keyfleet_workers.provider.verdict import UNREACHABLE_REST_MS, UNUSABLE_REST_MS, Verdict, VerdictKind

__all__ = ["classify"]

RETRYABLE_STATUSES = frozenset({408, 409, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""What OpenAI's official client retries, without 429; 520 to 524 are Cloudflare's, 529 is Anthropic's overload."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

ABOUT_THE_KEY = frozenset({401, 402, 403})
"""Statuses by which a provider refuses a key; it does so in JSON, while pages with them come from somebody else."""

_PROXIES = ("squid", "tinyproxy", "privoxy", "mitmproxy")
"""How proxies begin their `server` header in answers of their own."""

GATEWAY_FAILURES = frozenset({502, 503, 504})
"""Statuses of whoever passes a call on and can't."""

_SLOW_DOWN = "slow_down"


@dataclass(frozen=True, slots=True)
class _Answer:
    provider: Provider
    status: int
    headers: Mapping[str, str] = field(repr=False)
    document: Any = field(repr=False)
    error: ErrorBody
    is_page: bool
    via_proxy: bool
    is_plain: bool
    wait_ms: int | None


def classify(
    provider: Provider,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float = 0.0,
    via_proxy: bool = False,
    is_plain: bool = False,
) -> Verdict:
    """The meaning of an answer to a call with a key for `provider`.

    `headers` must be case-insensitive or have lower-case names. `now_s` is the wall clock in seconds since the epoch,
    for waits that are told as dates. `via_proxy`: the call went through a proxy, which is then named in messages.
    `is_plain`: in plain HTTP, so that the proxy may have answered in the provider's place.
    """
    document, is_good = read_document(body), 200 <= status < 300
    if is_good and document is None:
        return _no_document(headers, body, via_proxy)
    if is_good and document is not None and not holds_error(document):
        return Verdict(VerdictKind.SUCCESS, document=document)
    error = error_body(document, body)
    if is_good:
        status = hidden_status(error, DIALECTS[provider])
    wait_ms = wait_asked_ms(headers, now_s=now_s, message=error.text)
    is_page = document is None and is_html(headers, body)
    return _refused(_Answer(provider, status, headers, document, error, is_page, via_proxy, is_plain, wait_ms))


def _no_document(headers: Mapping[str, str], body: bytes, via_proxy: bool) -> Verdict:
    if is_html(headers, body):
        return _unreachable("captive_page", "a page came in place of the provider's answer", via_proxy)
    return Verdict(VerdictKind.RETRYABLE, "invalid_json", "the answer is no JSON object")


def _refused(answer: _Answer) -> Verdict:
    """An answer that is no success: what stands between, then what its names mean, then its status."""
    return _in_between(answer) or _named(answer) or _by_status(answer)


def _in_between(answer: _Answer) -> Verdict | None:
    """What a proxy, a portal or a firewall answered, which says nothing of the key."""
    status, code = answer.status, answer.error.code_or(f"http_{answer.status}")
    if status in REDIRECTS:
        host = _host(answer.headers.get("location"))
        message = f"the call was redirected{f' to {host}' if host else ''}; redirects are never followed"
        return _unreachable("redirected", message, answer.via_proxy)
    if status == 407:
        return _unreachable(f"http_{status}", "the proxy wants other credentials (407)", answer.via_proxy)
    if status >= 400 and answer.document is None and answer.via_proxy and _is_of_a_proxy(answer):
        return _unreachable(f"http_{status}", f"the proxy answered {status} itself", answer.via_proxy)
    if status in ABOUT_THE_KEY and answer.document is None:
        message = f"an answer {status} that is no JSON, so it is not the provider's"
        return _unreachable(code, message, answer.via_proxy)
    return None


def _named(answer: _Answer) -> Verdict | None:
    """What code, type or message mean in the provider's dialect."""
    meaning = DIALECTS[answer.provider].meaning(answer.status, answer.error)
    if meaning is None:
        return None
    kind = meaning.kind
    if kind is VerdictKind.UNREACHABLE:
        code, message = answer.error.code_or("refused_here"), answer.error.message
        return _unreachable(code, message, answer.via_proxy, answer.document)
    rest_ms = None if kind is VerdictKind.MODEL_LOST else UNUSABLE_REST_MS
    return replace(_verdict(answer, kind, kind.value, rest_ms), is_own_budget=meaning.is_own_budget)


def _by_status(answer: _Answer) -> Verdict:
    status = answer.status
    refusal = Refusal(answer.provider, status, answer.error, answer.wait_ms, answer.document)
    if status == 402:
        return payment_verdict(refusal)
    if status == 403:
        found = volume_verdict(refusal)
        if found is not None:
            return found
    if status in (413, 429) or (status == 503 and _SLOW_DOWN in answer.error.names):
        found = rate_verdict(refusal)
        if found is not None:
            return found
    if status == 401:
        return _verdict(answer, VerdictKind.REVOKED, "invalid_api_key", UNUSABLE_REST_MS)
    wished = (answer.headers.get("x-should-retry") or "").lower()
    if wished == "true" or (status in RETRYABLE_STATUSES and wished != "false"):
        return _verdict(answer, VerdictKind.RETRYABLE, f"http_{status}", answer.wait_ms)
    return _verdict(answer, VerdictKind.FINAL, f"http_{status}", None)


def _verdict(answer: _Answer, kind: VerdictKind, code: str, wait_ms: int | None) -> Verdict:
    return Verdict(kind, answer.error.code_or(code), answer.error.message, wait_ms, answer.document)


def _unreachable(code: str, message: str, via_proxy: bool, document: Any = None) -> Verdict:
    """Never with words of a page in its message, which may repeat what a proxy was sent."""
    where = "through its proxy" if via_proxy else "from this host"
    text = f"not reachable {where}: {message}"
    return Verdict(VerdictKind.UNREACHABLE, code, text, UNREACHABLE_REST_MS, document)


def _is_of_a_proxy(answer: _Answer) -> bool:
    """Whether the proxy, not the provider, must have answered: it says so, or a page says that it can't get through.

    Providers' interfaces answer in JSON. Through TLS a proxy can't answer in their place: there a page is their own.
    """
    server = (answer.headers.get("server") or "").lower()
    if answer.headers.get("x-squid-error") is not None or server.startswith(_PROXIES):
        return True
    return answer.is_plain and answer.is_page and answer.status in GATEWAY_FAILURES


def _host(location: str | None) -> str | None:
    try:
        return urlsplit(location or "").hostname
    except ValueError:
        return None
