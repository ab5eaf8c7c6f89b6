"""What answers mean: a table of the documented shapes of answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet_workers.provider import VerdictKind, classify, classify_failure
from keyfleet_workers.provider.verdict import (
    DEFAULT_COOLDOWN_MS,
    MAX_MESSAGE_CHARACTERS,
    UNREACHABLE_REST_MS,
    UNUSABLE_REST_MS,
    CallFailure,
)

SUCCESS, FINAL, RETRYABLE = VerdictKind.SUCCESS, VerdictKind.FINAL, VerdictKind.RETRYABLE
RATE_LIMITED, KEY_UNUSABLE = VerdictKind.RATE_LIMITED, VerdictKind.KEY_UNUSABLE


def openai(message: str, kind: str | None, code: str | int | None = None, param: str | None = None) -> dict[str, Any]:
    """https://platform.openai.com/docs/guides/error-codes: the one shape of OpenAI's error answers."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic(kind: str, message: str) -> dict[str, Any]:
    """https://docs.anthropic.com/en/api/errors."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def azure(code: str, message: str) -> dict[str, Any]:
    """https://learn.microsoft.com/azure/ai-services/openai/how-to/quota: an error of the gateway, without a type."""
    return {"error": {"code": code, "message": message}}


TABLE = [
    (200, {"object": "chat.completion"}, SUCCESS, ""),
    (201, {}, SUCCESS, ""),
    # OpenAI
    (
        429,
        openai("Rate limit reached for gpt-4o", "requests", "rate_limit_exceeded"),
        RATE_LIMITED,
        "rate_limit_exceeded",
    ),
    (
        429,
        openai("Rate limit reached for gpt-4o", "tokens", "rate_limit_exceeded"),
        RATE_LIMITED,
        "rate_limit_exceeded",
    ),
    (429, openai("Slow down", "slow_down"), RATE_LIMITED, "slow_down"),
    (503, openai("Slow Down", "slow_down", "slow_down"), RATE_LIMITED, "slow_down"),
    (503, openai("The engine is currently overloaded", "server_error"), RETRYABLE, "server_error"),
    (
        429,
        openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
        KEY_UNUSABLE,
        "out_of_credit",
    ),
    (429, openai("You exceeded your current quota", "insufficient_quota"), KEY_UNUSABLE, "out_of_credit"),
    (429, openai("Billing hard limit", "billing_error", "billing_hard_limit_reached"), KEY_UNUSABLE, "out_of_credit"),
    (429, openai("No credit", "invalid_request_error", "credit_balance_exhausted"), KEY_UNUSABLE, "out_of_credit"),
    (
        401,
        openai("Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
        KEY_UNUSABLE,
        "invalid_api_key",
    ),
    (
        400,
        openai("This model's maximum context length is 8192", "invalid_request_error", "context_length_exceeded"),
        FINAL,
        "context_length_exceeded",
    ),
    (
        400,
        openai("'messages' is a required property", "invalid_request_error", None, "messages"),
        FINAL,
        "invalid_request_error",
    ),
    (400, openai("flagged", "invalid_request_error", "content_policy_violation"), FINAL, "content_policy_violation"),
    (403, openai("Country not supported", "request_forbidden", "unsupported_country"), FINAL, "unsupported_country"),
    (404, openai("The model `x` does not exist", "invalid_request_error", "model_not_found"), FINAL, "model_not_found"),
    (422, openai("unprocessable", "invalid_request_error"), FINAL, "invalid_request_error"),
    (500, openai("The server had an error", "server_error", None), RETRYABLE, "server_error"),
    (409, openai("Conflict", "conflict"), RETRYABLE, "conflict"),
    # Azure OpenAI: the code is the status as a text
    (429, azure("429", "Requests have exceeded call rate limit"), RATE_LIMITED, "429"),
    (401, azure("401", "Access denied due to invalid subscription key"), KEY_UNUSABLE, "401"),
    (408, azure("Timeout", "The operation was timeout."), RETRYABLE, "Timeout"),
    (404, azure("DeploymentNotFound", "The API deployment does not exist"), FINAL, "DeploymentNotFound"),
    (400, azure("content_filter", "The response was filtered"), FINAL, "content_filter"),
    # Anthropic
    (429, anthropic("rate_limit_error", "Number of request tokens has exceeded"), RATE_LIMITED, "rate_limit_error"),
    (529, anthropic("overloaded_error", "Overloaded"), RETRYABLE, "overloaded_error"),
    (401, anthropic("authentication_error", "invalid x-api-key"), KEY_UNUSABLE, "authentication_error"),
    (413, anthropic("request_too_large", "Request exceeds the maximum size"), FINAL, "request_too_large"),
    (500, anthropic("api_error", "Internal server error"), RETRYABLE, "api_error"),
    # Compatible servers: vLLM puts a number into `code` (vllm/entrypoints/openai/protocol.py, ErrorResponse) and older
    # ones have the fields at the top; others send a bare text.
    (400, {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, FINAL, "http_400"),
    (404, openai("The model does not exist", "NotFoundError", 404), FINAL, "404"),
    (429, {"error": "Too many requests"}, RATE_LIMITED, "rate_limited"),
    (502, {"error": {}}, RETRYABLE, "http_502"),
    (504, {}, RETRYABLE, "http_504"),
    (302, {}, FINAL, "http_302"),
]


@pytest.mark.parametrize(("status", "document", "kind", "code"), TABLE)
def test_documented_answers_mean_what_their_documents_say(
    status: int, document: dict[str, Any], kind: VerdictKind, code: str
) -> None:
    verdict = classify(status, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.code, verdict.document) == (kind, code, document)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (200, b"<html>Please log in</html>", RETRYABLE, "invalid_json"),
        (200, b"", RETRYABLE, "invalid_json"),
        (200, b'{"cut', RETRYABLE, "invalid_json"),
        (200, b"[]", RETRYABLE, "invalid_json"),
        (200, b"[" * 100_000, RETRYABLE, "invalid_json"),
        (200, b'{"a":' + b"9" * 5000 + b"}", RETRYABLE, "invalid_json"),
        (200, b"\xff\xfe", RETRYABLE, "invalid_json"),
        (502, b"<html>Bad Gateway</html>", RETRYABLE, "http_502"),
        (429, b"slow", RATE_LIMITED, "rate_limited"),
        (401, b"", KEY_UNUSABLE, "invalid_api_key"),
        (400, b'[{"error": {"code": 400}}]', FINAL, "http_400"),
        (400, b'{"error": {"code": ["x"], "type": {}, "message": 7}}', FINAL, "['x']"),
    ],
)
def test_answers_that_are_no_documents_have_a_meaning_too(
    status: int, body: bytes, kind: VerdictKind, code: str
) -> None:
    verdict = classify(status, {}, body)
    assert (verdict.kind, verdict.code) == (kind, code)


@given(status=st.integers(100, 599), body=st.binary(max_size=50))
def test_no_answer_breaks_the_classifier(status: int, body: bytes) -> None:
    assert classify(status, {"retry-after": "x"}, body).kind in VerdictKind


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
    assert classify(429, headers, b"{}", now_s=1_700_000_000.0).wait_ms == wait_ms


def test_a_server_error_passes_on_the_wait_that_it_asks_for() -> None:
    assert classify(503, {"retry-after": "7"}, b"{}").wait_ms == 7000
    assert classify(503, {}, b"{}").wait_ms is None


def test_a_refused_key_rests_for_a_minute_whatever_the_headers_say() -> None:
    assert classify(401, {"retry-after": "1"}, b"{}").wait_ms == UNUSABLE_REST_MS


@pytest.mark.parametrize(
    "body", [b"x" * 10_000, json.dumps(openai("x" * 10_000, "e")).encode(), b'{"error":"' + b"x" * 9999 + b'"}']
)
def test_a_message_is_cut_to_a_readable_length(body: bytes) -> None:
    assert classify(400, {}, body).message == "x" * MAX_MESSAGE_CHARACTERS


@pytest.mark.parametrize(
    ("failure", "kind", "wait_ms"),
    [
        (CallFailure.UNREACHABLE, VerdictKind.UNREACHABLE, UNREACHABLE_REST_MS),
        (CallFailure.TIMED_OUT, VerdictKind.TIMED_OUT, None),
        (CallFailure.CUT_OFF, VerdictKind.RETRYABLE, None),
    ],
)
def test_a_call_without_an_answer_has_a_meaning(failure: CallFailure, kind: VerdictKind, wait_ms: int | None) -> None:
    verdict = classify_failure(failure, "why")
    assert (verdict.kind, verdict.code, verdict.message, verdict.wait_ms) == (kind, failure.value, "why", wait_ms)
