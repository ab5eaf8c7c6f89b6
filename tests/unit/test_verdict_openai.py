"""What OpenAI's answers mean: a table of its documented errors, and of those that people were given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet_workers.provider import SaidLimit, Verdict, VerdictKind, classify
from keyfleet_workers.provider.verdict import DAY_LIMIT_REST_MS, DEFAULT_COOLDOWN_MS

FINAL, RETRYABLE, RATE_LIMITED = VerdictKind.FINAL, VerdictKind.RETRYABLE, VerdictKind.RATE_LIMITED
OUT_OF_CREDIT, REVOKED, MODEL_LOST = VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED, VerdictKind.MODEL_LOST
UNREACHABLE, TOO_LARGE = VerdictKind.UNREACHABLE, VerdictKind.TOO_LARGE


def error(message: str, kind: str | None, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """https://platform.openai.com/docs/guides/error-codes: the one shape of OpenAI's errors."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def verdict_of(status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> Verdict:
    return classify("openai", status, headers or {}, json.dumps(document).encode())


INVALID = "invalid_request_error"
QUOTA = "You exceeded your current quota, please check your plan and billing details. For more information on this"

TABLE = [
    # https://help.openai.com/en/articles/6614457-troubleshooting-api-usage-and-spend-limits: "Retrying these errors
    # won't restore access"; the type may be insufficient_quota whatever the code is
    (429, error(QUOTA, "insufficient_quota", "insufficient_quota"), OUT_OF_CREDIT, "insufficient_quota"),
    (429, error(QUOTA, "insufficient_quota"), OUT_OF_CREDIT, "insufficient_quota"),
    (429, error("m", "insufficient_quota", "credit_balance_exhausted"), OUT_OF_CREDIT, "credit_balance_exhausted"),
    (429, error("m", "insufficient_quota", "project_spend_limit_exceeded"), OUT_OF_CREDIT, None),
    (429, error("m", "insufficient_quota", "organization_spend_limit_exceeded"), OUT_OF_CREDIT, None),
    (429, error("m", None, "organization_usage_limit_exceeded"), OUT_OF_CREDIT, None),
    # https://github.com/dfinke/PowerShellAI/issues/127; for images with 400
    (429, error("Billing hard limit has been reached", INVALID, "billing_hard_limit_reached"), OUT_OF_CREDIT, None),
    (400, error("Billing hard limit has been reached", INVALID, "billing_hard_limit_reached"), OUT_OF_CREDIT, None),
    # https://github.com/BerriAI/litellm/issues/2743
    (429, error("Your account is not active", "billing_not_active", "billing_not_active"), OUT_OF_CREDIT, None),
    # https://help.openai.com/en/articles/6891839-api-error-codes
    (401, error("Incorrect API key provided: sk-***.", INVALID, "invalid_api_key"), REVOKED, "invalid_api_key"),
    (401, error("You didn't provide an API key.", INVALID), REVOKED, INVALID),
    (401, error("You must be a member of an organization to use the API", INVALID), REVOKED, INVALID),
    (401, error("Your request IP is not authorized for this project.", INVALID), UNREACHABLE, INVALID),
    (403, error("Country, region, or territory not supported", None, "unsupported_country"), UNREACHABLE, None),
    # https://github.com/home-assistant/core/issues/120072
    (
        403,
        error("Country, region not supported", "request_forbidden", "unsupported_country_region_territory"),
        UNREACHABLE,
        "unsupported_country_region_territory",
    ),
    # https://github.com/Zero6992/chatGPT-discord-bot/issues/442; DESIGN.md has it with 403
    (401, error("This key is associated with a deactivated account.", INVALID, "account_deactivated"), REVOKED, None),
    (403, error("Your OpenAI account has been deactivated", INVALID, "account_deactivated"), REVOKED, None),
    # https://github.com/Aider-AI/aider/issues/604, https://github.com/continuedev/continue/issues/10120
    (
        403,
        error("Project `proj_1` does not have access to model `gpt-4o`", INVALID, "model_not_found"),
        MODEL_LOST,
        None,
    ),
    (403, error("Project `proj_1` does not have access to model `gpt-4.1`", INVALID), MODEL_LOST, INVALID),
    # https://github.com/Shopify/roast/issues/13
    (
        404,
        error("The model x does not exist or you do not have access to it.", INVALID, "model_not_found"),
        MODEL_LOST,
        None,
    ),
    # https://github.com/openclaw/openclaw/issues/56658, of restricted keys
    (401, error("You have insufficient permissions for this operation. Missing scopes: x", INVALID), MODEL_LOST, None),
    (403, error("You have insufficient permissions for this operation. Missing scopes: x", INVALID), MODEL_LOST, None),
    # The request's own fault
    (404, error("Invalid URL (POST /v1/chat)", INVALID, "unknown_url"), FINAL, "unknown_url"),
    (
        404,
        error(
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
            INVALID,
            None,
            "model",
        ),
        FINAL,
        None,
    ),
    (
        400,
        error("This model's maximum context length is 8192 tokens.", INVALID, "context_length_exceeded"),
        FINAL,
        None,
    ),
    (400, error("'messages' is a required property", INVALID, None, "messages"), FINAL, INVALID),
    (400, error("Invalid prompt: your prompt was flagged", INVALID, "invalid_prompt"), FINAL, "invalid_prompt"),
    (400, error("Your request was rejected by our safety system.", INVALID, "content_policy_violation"), FINAL, None),
    (
        400,
        error(
            "Unsupported parameter: 'max_tokens' is not supported with this model.", INVALID, "unsupported_parameter"
        ),
        FINAL,
        None,
    ),
    (413, error("The request is too large.", INVALID), FINAL, INVALID),
    (422, error("unprocessable", INVALID), FINAL, INVALID),
    # The provider's fault
    (408, error("Request timed out.", "server_error"), RETRYABLE, "server_error"),
    (409, error("Conflict", "conflict"), RETRYABLE, "conflict"),
    (500, error("The server had an error while processing your request", "server_error"), RETRYABLE, "server_error"),
    (
        503,
        error("The engine is currently overloaded", "service_unavailable_error", "server_is_overloaded"),
        RETRYABLE,
        "server_is_overloaded",
    ),
    # https://help.openai.com/en/articles/5955604
    (
        429,
        error("Rate limit reached for gpt-4o", "requests", "rate_limit_exceeded"),
        RATE_LIMITED,
        "rate_limit_exceeded",
    ),
    (429, error("Too many requests", "requests"), RATE_LIMITED, "requests"),
]


@pytest.mark.parametrize(("status", "document", "kind", "code"), TABLE)
def test_an_error_means_what_its_document_says(
    status: int, document: dict[str, Any], kind: VerdictKind, code: str | None
) -> None:
    verdict = verdict_of(status, document)
    expected = code or document["error"]["code"] or document["error"]["type"]
    assert (verdict.kind, verdict.code, verdict.document) == (kind, expected, document)
    assert document["error"]["message"] in verdict.message


@pytest.mark.parametrize(
    ("message", "limit", "is_day_limit", "wait_ms"),
    [
        # https://github.com/BuilderIO/micro-agent/issues/86
        (
            "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29937, "
            "Requested 385. Please try again in 644ms.",
            SaidLimit("tokens", 30_000, 60, 385),
            False,
            644,
        ),
        # https://github.com/feder-cr/invisible_playwright_mcp/issues/109
        (
            "Rate limit reached for gpt-4o-mini in organization org-1 on requests per day (RPD): Limit 200, Used 200, "
            "Requested 1. Please try again in 7m12s. Visit https://platform.openai.com/account/rate-limits to learn "
            "more. You can increase your rate limit by adding a payment method to your account at "
            "https://platform.openai.com/account/billing.",
            SaidLimit("requests", 200, 86_400, 1),
            True,
            432_000,
        ),
        # https://github.com/openai/openai-agents-js/issues/1022
        (
            "Rate limit reached for gpt-4o-mini-realtime in organization org-1 on requests per day (RPD): Limit 1000, "
            "Used 1000, Requested 1. Please try again in 1m26.4s.",
            SaidLimit("requests", 1000, 86_400, 1),
            True,
            86_400,
        ),
        # https://github.com/mmz-001/knowledge_gpt/issues/5, of 2023
        (
            "Rate limit reached for default in organization org-1 on requests per min. Limit: 60.000000 / min. "
            "Current: 70.000000 / min. Contact support@openai.com if you continue to have issues.",
            SaidLimit("requests", 60, 60, None),
            False,
            1000,
        ),
        # https://github.com/stanford-crfm/helm/issues/97, of 2022
        (
            "Rate limit reached for tokens. Limit: 150,000.000000 / min. Current: 176000.000000 / min.",
            None,
            False,
            1000,
        ),
        (
            "Rate limit reached for gpt-4 in organization org-1 on requests per day. Limit: 10000 / day.",
            SaidLimit("requests", 10_000, 86_400, None),
            True,
            DAY_LIMIT_REST_MS,
        ),
    ],
)
def test_a_rate_limit_tells_its_limit_and_the_wait(
    message: str, limit: SaidLimit | None, is_day_limit: bool, wait_ms: int
) -> None:
    verdict = verdict_of(429, error(message, "tokens", "rate_limit_exceeded"))
    assert (verdict.kind, verdict.limit, verdict.is_day_limit, verdict.wait_ms) == (
        RATE_LIMITED,
        limit,
        is_day_limit,
        wait_ms,
    )
    assert not verdict.slow_down


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        # https://github.com/TheR1D/shell_gpt/issues/653
        ("tokens per min (TPM): Limit 30000, Requested 31538.", SaidLimit("tokens", 30_000, 60, 31_538)),
        ("tokens per day (TPD): Limit 90000, Requested 90001.", SaidLimit("tokens", 90_000, 86_400, 90_001)),
        ("tokens per min (TPM): Limit: 30,000, Requested: 31,538.", SaidLimit("tokens", 30_000, 60, 31_538)),
        ("requests per day. Limit: 10000 / day, Requested 10001.", SaidLimit("requests", 10_000, 86_400, 10_001)),
        ("input-images per min: Limit 5, Used 0, Requested 6.", SaidLimit("images", 5, 60, 6)),
        ("images per minute (IPM): Limit 5, Used 0, Requested 6.", SaidLimit("images", 5, 60, 6)),
        ("images per day (IPD): Limit 5, Used 0, Requested 6.", SaidLimit("images", 5, 86_400, 6)),
    ],
)
def test_a_request_larger_than_the_limit_is_too_large_and_no_reason_to_wait(words: str, limit: SaidLimit) -> None:
    verdict = verdict_of(429, error(f"Request too large for gpt-4o in organization org-1 on {words}", "tokens", "x"))
    assert (verdict.kind, verdict.limit, verdict.wait_ms) == (TOO_LARGE, limit, None)


@pytest.mark.parametrize(
    ("message", "limit", "wait_ms"),
    [
        (
            "Rate limit reached for gpt-image-1 (for limit gpt-image) in organization org-1 on input-images per min: "
            "Limit 5, Used 5, Requested 1. Please try again in 12s.",
            SaidLimit("images", 5, 60, 1),
            12_000,
        ),
        (  # https://community.openai.com/t/dall-e-3-rate-limit-discrepancy-increase-request/1104758
            "Rate limit exceeded for images per minute in organization org-1. Limit: 15/1min. Current: 16/1min.",
            SaidLimit("images", 15, 60, None),
            DEFAULT_COOLDOWN_MS,
        ),
    ],
)
def test_a_limit_of_images_that_is_used_up_is_named(message: str, limit: SaidLimit, wait_ms: int) -> None:
    verdict = verdict_of(429, error(message, "requests", "rate_limit_exceeded"))
    assert (verdict.kind, verdict.limit, verdict.wait_ms) == (RATE_LIMITED, limit, wait_ms)
    assert not verdict.is_day_limit


def test_an_account_that_may_make_no_images_has_not_the_model() -> None:
    # https://github.com/Bin-Huang/chatbox/issues/1361
    message = "Rate limit exceeded for images per minute in organization org-1. Limit: 0/1min. Current: 1/1min."
    assert verdict_of(429, error(message, "requests", "rate_limit_exceeded")).kind is MODEL_LOST


def test_a_request_as_large_as_the_limit_is_only_early() -> None:
    message = "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 1, Requested 30000."
    assert verdict_of(429, error(message, "tokens", "rate_limit_exceeded")).kind is RATE_LIMITED


def test_a_limit_of_nothing_is_a_model_that_the_key_does_not_have() -> None:
    message = "Rate limit reached for gpt-5 on tokens per min (TPM): Limit 0, Used 0, Requested 100."
    assert verdict_of(429, error(message, "tokens", "rate_limit_exceeded")).kind is MODEL_LOST


@pytest.mark.parametrize(
    ("status", "kind", "code", "message"),
    [
        # https://platform.openai.com/docs/guides/error-codes: 503 in the past, 429 now
        (429, "rate_limit_error", "slow_down", "Your traffic grew too quickly"),
        (429, "slow_down", None, "m"),
        (503, "slow_down", "slow_down", "m"),
        (429, "requests", "rate_limit_exceeded", "Slow down."),
    ],
)
def test_slow_down_is_a_rate_limit_that_asks_for_a_lower_rate(
    status: int, kind: str, code: str | None, message: str
) -> None:
    verdict = verdict_of(status, error(message, kind, code), {"retry-after": "3"})
    assert (verdict.kind, verdict.slow_down, verdict.wait_ms) == (RATE_LIMITED, True, 3000)


# https://github.com/openai/openai-python, src/openai/_base_client.py, _should_retry
@pytest.mark.parametrize(
    ("status", "wish", "kind"),
    [
        (500, "false", FINAL),
        (409, "false", FINAL),
        (500, "true", RETRYABLE),
        (400, "true", RETRYABLE),
        (400, "false", FINAL),
        (501, "true", RETRYABLE),
        (501, "", FINAL),
        (429, "false", RATE_LIMITED),
        (401, "true", REVOKED),
    ],
)
def test_the_providers_word_on_trying_again_is_taken_where_the_status_says_nothing_better(
    status: int, wish: str, kind: VerdictKind
) -> None:
    assert verdict_of(status, error("m", INVALID), {"x-should-retry": wish}).kind is kind
