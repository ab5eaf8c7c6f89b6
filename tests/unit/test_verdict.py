"""What answers mean whatever the provider is: pages that are not the provider's, waits, and odd answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.config import PROVIDERS, Provider
from keyfleet_workers.provider import VerdictKind, classify, classify_failure
from keyfleet_workers.provider.error_body import MAX_MESSAGE_CHARACTERS
from keyfleet_workers.provider.verdict import (
    DEFAULT_COOLDOWN_MS,
    UNREACHABLE_REST_MS,
    UNUSABLE_REST_MS,
    CallFailure,
)

SUCCESS, FINAL, RETRYABLE = VerdictKind.SUCCESS, VerdictKind.FINAL, VerdictKind.RETRYABLE
RATE_LIMITED, UNREACHABLE, REVOKED = VerdictKind.RATE_LIMITED, VerdictKind.UNREACHABLE, VerdictKind.REVOKED

every_provider = pytest.mark.parametrize("provider", PROVIDERS)


@every_provider
def test_a_json_object_is_a_good_answer(provider: Provider) -> None:
    verdict = classify(provider, 200, {}, b'{"object": "chat.completion"}')
    assert (verdict.kind, verdict.code, verdict.document) == (SUCCESS, "", {"object": "chat.completion"})


HTML = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"


@every_provider
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, HTML, {}),
        (200, b"<HTML>", {}),
        (200, b"welcome", {"content-type": "text/html; charset=utf-8"}),
        (401, HTML, {}),
        (403, HTML, {}),
        (402, HTML, {}),
        (401, b"", {}),
        (403, b"Forbidden", {}),
        (407, HTML, {}),
        (407, b'{"error": {"code": "invalid_api_key"}}', {}),
        (301, b"", {"location": "https://elsewhere.example/v1/x"}),
        (302, HTML, {}),
        (307, b"{}", {"location": "/v1/x/"}),
        (308, b"", {"location": "https://[half"}),
    ],
)
def test_what_somebody_between_answered_says_nothing_of_the_key(
    provider: Provider, status: int, body: bytes, headers: dict[str, str]
) -> None:
    direct = classify(provider, status, headers, body)
    assert (direct.kind, direct.wait_ms) == (UNREACHABLE, UNREACHABLE_REST_MS)
    assert "not reachable from this host" in direct.message
    proxied = classify(provider, status, headers, body, via_proxy=True)
    assert proxied.kind is UNREACHABLE
    assert "not reachable through its proxy" in proxied.message
    assert "log in" not in proxied.message


def test_a_redirect_is_named_with_the_host_it_leads_to_and_nothing_else_of_its_address() -> None:
    verdict = classify("openai", 302, {"location": "https://me:secret@portal.example/?token=secret"}, b"")
    assert verdict.message == (
        "not reachable from this host: the call was redirected to portal.example; redirects are never followed"
    )
    assert (verdict.code, verdict.document) == ("redirected", None)


@pytest.mark.parametrize(
    "headers", [{"x-squid-error": "ERR_DNS_FAIL 0"}, {"server": "squid/5.7"}, {"server": "tinyproxy/1.11.0"}]
)
@pytest.mark.parametrize("status", [404, 500, 502, 503, 504])
def test_an_error_page_of_the_proxys_own_is_no_outage_of_the_provider(status: int, headers: dict[str, str]) -> None:
    assert classify("openai", status, headers, HTML, via_proxy=True).kind is UNREACHABLE
    assert classify("openai", status, headers, HTML).kind is (FINAL if status == 404 else RETRYABLE)
    assert classify("openai", status, {}, HTML, via_proxy=True).kind is (FINAL if status == 404 else RETRYABLE)
    answer = b'{"error": {"message": "from the provider"}}'
    assert classify("openai", status, headers, answer, via_proxy=True).kind is (FINAL if status == 404 else RETRYABLE)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, HTML, UNREACHABLE),
        (503, HTML, UNREACHABLE),
        (504, HTML, UNREACHABLE),
        (500, HTML, RETRYABLE),
        (404, HTML, FINAL),
        (503, b"upstream connect error", RETRYABLE),
        (503, b'{"error": {"message": "overloaded"}}', RETRYABLE),
    ],
)
def test_a_page_of_a_proxy_that_can_not_get_through_is_known_where_it_can_answer_itself(
    status: int, body: bytes, kind: VerdictKind
) -> None:
    assert classify("compatible", status, {}, body, via_proxy=True, is_plain=True).kind is kind
    otherwise = FINAL if status == 404 else RETRYABLE
    assert classify("compatible", status, {}, body, via_proxy=True).kind is otherwise, "TLS lets nobody answer for it"
    assert classify("compatible", status, {}, body, is_plain=True).kind is otherwise, "it is the provider's own"


@every_provider
def test_a_blocked_region_is_unreachable_and_never_revoked(provider: Provider) -> None:
    body = b'{"error": {"code": "unsupported_country_region_territory", "message": "Country, region not supported"}}'
    verdict = classify(provider, 403, {}, body, via_proxy=True)
    assert verdict.kind is UNREACHABLE
    assert verdict.message.startswith("not reachable through its proxy: Country")


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (200, b"", RETRYABLE, "invalid_json"),
        (200, b'{"cut', RETRYABLE, "invalid_json"),
        (200, b"[]", RETRYABLE, "invalid_json"),
        (200, b"upstream connect error", RETRYABLE, "invalid_json"),
        (200, b"[" * 100_000, RETRYABLE, "invalid_json"),
        (200, b'{"a":' + b"9" * 5000 + b"}", RETRYABLE, "invalid_json"),
        (200, b"\xff\xfe", RETRYABLE, "invalid_json"),
        (502, b"<html>Bad Gateway</html>", RETRYABLE, "http_502"),
        (504, b"{}", RETRYABLE, "http_504"),
        (429, b"slow", RATE_LIMITED, "rate_limited"),
        (429, b"", RATE_LIMITED, "rate_limited"),
        (404, b"404 page not found", FINAL, "http_404"),
        (413, b"<html>", FINAL, "http_413"),
        (400, b'[{"error": {"code": 400}}, 1]', FINAL, "http_400"),
        (400, b'{"error": {"code": ["x"], "type": {}, "message": 7}}', FINAL, "http_400"),
        (400, b'{"error": {"code": true}}', FINAL, "http_400"),
        (401, b"{}", REVOKED, "invalid_api_key"),
        (304, b"", FINAL, "http_304"),
    ],
)
def test_answers_that_are_no_documents_have_a_meaning_too(
    status: int, body: bytes, kind: VerdictKind, code: str
) -> None:
    verdict = classify("openai", status, {}, body)
    assert (verdict.kind, verdict.code) == (kind, code)


# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors
@every_provider
@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529])
def test_what_may_pass_is_tried_again(provider: Provider, status: int) -> None:
    assert classify(provider, status, {}, b"<html>").kind is RETRYABLE


@given(
    provider=st.sampled_from(PROVIDERS),
    status=st.integers(100, 599),
    body=st.one_of(
        st.binary(max_size=50),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(("error", "code", "type", "message", "detail", "x")), inner, max_size=4
                )
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    via_proxy=st.booleans(),
    is_plain=st.booleans(),
)
def test_no_answer_breaks_the_classifier(
    provider: Provider, status: int, body: bytes, via_proxy: bool, is_plain: bool
) -> None:
    headers = {"retry-after": "x", "location": "//["}
    verdict = classify(provider, status, headers, body, via_proxy=via_proxy, is_plain=is_plain)
    assert verdict.kind in VerdictKind
    assert len(verdict.message) < MAX_MESSAGE_CHARACTERS + 100
    assert verdict.message.isprintable()
    assert verdict.code.isprintable()
    assert (verdict.code == "") == (verdict.kind is SUCCESS)


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({}, DEFAULT_COOLDOWN_MS),
        ({"retry-after-ms": "20"}, 20),
        ({"retry-after": "2"}, 2000),
        ({"retry-after": "0"}, DEFAULT_COOLDOWN_MS),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT"}, 40_000),
        ({"retry-after": "Tue, 14 Nov 2023 22:12:00 GMT"}, DEFAULT_COOLDOWN_MS),
    ],
)
def test_a_rate_limit_rests_as_long_as_the_provider_asks_and_never_not_at_all(
    headers: dict[str, str], wait_ms: int
) -> None:
    assert classify("openai", 429, headers, b"{}", now_s=1_700_000_000.0).wait_ms == wait_ms


def test_a_server_error_passes_on_the_wait_that_it_asks_for() -> None:
    assert classify("openai", 503, {"retry-after": "7"}, b"{}").wait_ms == 7000
    assert classify("openai", 503, {}, b"{}").wait_ms is None


def test_a_refused_key_rests_for_a_minute_whatever_the_headers_say() -> None:
    assert classify("openai", 401, {"retry-after": "1"}, b"{}").wait_ms == UNUSABLE_REST_MS


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 10_000,
        json.dumps({"error": {"message": "x" * 9999}}).encode(),
        json.dumps({"error": "x" * 9999}).encode(),
    ],
)
def test_a_message_is_cut_to_a_readable_length(body: bytes) -> None:
    assert classify("openai", 400, {}, body).message == "x" * MAX_MESSAGE_CHARACTERS


def test_a_message_is_one_line_that_can_not_forge_lines_of_a_log() -> None:
    document: dict[str, Any] = {"error": {"code": "a\nb", "message": "one\r\n2026 ERROR two\x1b[31m\u2028three"}}
    verdict = classify("openai", 400, {}, json.dumps(document).encode())
    assert (verdict.code, verdict.message) == ("a?b", "one 2026 ERROR two?[31m three")


def test_an_answer_whose_secrets_were_hidden_holds_none_in_code_and_message() -> None:
    # What the caller hides in the body is hidden in all that is made of it: nothing else of an answer is quoted.
    secret = "sk-very-secret"
    headers = {"location": f"https://h.example/{secret}", "server": secret, "x-squid-error": secret}
    for status in (200, 302, 400, 401, 403, 407, 429, 500):
        for via_proxy in (False, True):
            verdict = classify("openai", status, headers, b'{"error": {"message": "***"}}', via_proxy=via_proxy)
            assert secret not in repr(verdict)


@pytest.mark.parametrize(
    ("failure", "kind", "wait_ms"),
    [
        (CallFailure.UNREACHABLE, UNREACHABLE, UNREACHABLE_REST_MS),
        (CallFailure.TIMED_OUT, VerdictKind.TIMED_OUT, None),
        (CallFailure.CUT_OFF, RETRYABLE, None),
        (CallFailure.INVALID_ENDPOINT, FINAL, None),
    ],
)
def test_a_call_without_an_answer_has_a_meaning(failure: CallFailure, kind: VerdictKind, wait_ms: int | None) -> None:
    verdict = classify_failure(failure, "why")
    assert (verdict.kind, verdict.code, verdict.message, verdict.wait_ms) == (kind, failure.value, "why", wait_ms)
