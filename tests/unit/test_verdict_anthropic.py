"""What Anthropic's answers mean, of its own interface and of the one for OpenAI's clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet_workers.provider import VerdictKind, classify

FINAL, RETRYABLE, RATE_LIMITED = VerdictKind.FINAL, VerdictKind.RETRYABLE, VerdictKind.RATE_LIMITED
OUT_OF_CREDIT, REVOKED, MODEL_LOST = VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED, VerdictKind.MODEL_LOST
UNREACHABLE = VerdictKind.UNREACHABLE


def own(kind: str, message: str) -> dict[str, Any]:
    """https://docs.claude.com/en/api/errors: the shape of its own interface."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def compatible(kind: str, message: str) -> dict[str, Any]:
    """https://github.com/FoundationAgents/OpenManus/issues/746: its endpoint for OpenAI's clients."""
    return {"error": {"code": kind, "message": message, "type": "invalid_request_error", "param": None}}


TABLE = [
    # https://docs.claude.com/en/api/errors
    (400, "invalid_request_error", "messages: at least one message is required", FINAL),
    (401, "authentication_error", "invalid x-api-key", REVOKED),
    (402, "billing_error", "There is an issue with your billing.", OUT_OF_CREDIT),
    (403, "permission_error", "Your API key does not have permission to use the specified resource.", MODEL_LOST),
    (413, "request_too_large", "Request exceeds the maximum allowed number of bytes.", FINAL),
    (
        429,
        "rate_limit_error",
        "This request would exceed your account's rate limit. Please try again later.",
        RATE_LIMITED,
    ),
    (500, "api_error", "Internal server error", RETRYABLE),
    (504, "timeout_error", "The request timed out.", RETRYABLE),
    (529, "overloaded_error", "Overloaded", RETRYABLE),
    # https://github.com/anthropics/claude-code/issues/5349; the other is a wrong path
    (404, "not_found_error", "model: sonnet4", MODEL_LOST),
    (404, "not_found_error", "Not Found", FINAL),
    # https://github.com/continuedev/continue/issues/5499
    (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", OUT_OF_CREDIT),
    # https://github.com/anthropics/claude-code/issues/38035
    (400, "invalid_request_error", "You have reached your specified API usage limits.", OUT_OF_CREDIT),
    # https://github.com/anthropics/claude-code/issues/1047, /55998; 429 where it is the workspace of Claude Code
    (400, "invalid_request_error", "You have reached your specified workspace API usage limits.", OUT_OF_CREDIT),
    (429, "rate_limit_error", "You have reached your specified workspace API usage limits.", OUT_OF_CREDIT),
    # https://github.com/anthropics/claude-code/issues/72457
    (400, "invalid_request_error", "This organization has been disabled.", REVOKED),
    # https://github.com/anthropics/claude-code/issues/1613, https://github.com/enricoros/big-AGI/issues/485: a region
    (403, "forbidden", "Request not allowed", UNREACHABLE),
    (400, "invalid_request_error", "prompt is too long: 201000 tokens > 200000 maximum", FINAL),
]


@pytest.mark.parametrize("shape", [own, compatible])
@pytest.mark.parametrize(("status", "name", "message", "kind"), TABLE)
def test_an_error_means_what_its_document_says(
    status: int, name: str, message: str, kind: VerdictKind, shape: Any
) -> None:
    document = shape(name, message)
    verdict = classify("anthropic", status, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.code, verdict.document) == (kind, name, document)
    assert message in verdict.message


def test_the_monthly_cap_of_a_tier_is_no_busy_minute_though_its_error_has_the_same_type() -> None:
    # https://platform.claude.com/docs/en/api/rate-limits
    document = own("rate_limit_error", "This request would exceed your organization's limit.")
    document["error"]["details"] = {"error_code": "enforced_spend_limit_reached"}
    verdict = classify("anthropic", 429, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.is_own_budget) == (OUT_OF_CREDIT, False)


def test_growing_too_fast_asks_for_a_lower_rate() -> None:
    # https://docs.claude.com/en/api/errors: "429 errors due to acceleration limits"
    message = "This request would exceed your organization's maximum usage increase rate for input tokens per minute."
    verdict = classify("anthropic", 429, {"retry-after": "8"}, json.dumps(own("rate_limit_error", message)).encode())
    assert (verdict.kind, verdict.slow_down, verdict.wait_ms) == (RATE_LIMITED, True, 8000)


def test_a_limit_of_input_alone_is_not_taken_for_one_of_all_tokens() -> None:
    # https://github.com/OpenHands/OpenHands/issues/9259
    message = "This request would exceed the rate limit for your organization (1) of 20,000 input tokens per minute."
    verdict = classify("anthropic", 429, {}, json.dumps(own("rate_limit_error", message)).encode())
    assert (verdict.kind, verdict.limit, verdict.is_day_limit) == (RATE_LIMITED, None, False)


def test_the_wait_is_read_from_the_reset_of_the_limit_that_is_used_up() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2025-08-21T12:40:59Z",
        "anthropic-ratelimit-tokens-remaining": "9",
        "anthropic-ratelimit-tokens-reset": "2025-08-21T13:40:59Z",
    }
    verdict = classify("anthropic", 429, headers, b"{}", now_s=1_755_780_050.0)
    assert verdict.wait_ms == 9000
