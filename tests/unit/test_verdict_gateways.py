"""What gateways before providers of any kind answer, and refusals that are told by their words or names alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet.config import PROVIDERS, Provider
from keyfleet_workers.provider import Verdict, VerdictKind, classify
from keyfleet_workers.provider.verdict import DAY_LIMIT_REST_MS, DEFAULT_COOLDOWN_MS

FINAL, RETRYABLE, RATE_LIMITED = VerdictKind.FINAL, VerdictKind.RETRYABLE, VerdictKind.RATE_LIMITED
OUT_OF_CREDIT, REVOKED, MODEL_LOST = VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED, VerdictKind.MODEL_LOST
UNREACHABLE, SUCCESS = VerdictKind.UNREACHABLE, VerdictKind.SUCCESS

every_provider = pytest.mark.parametrize("provider", PROVIDERS)


def error(message: Any, kind: str | None = None, code: Any = None, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code, **fields}}


def verdict_of(provider: Provider, status: int, document: Any) -> Verdict:
    return classify(provider, status, {}, json.dumps(document).encode())


BUDGET = "Budget has been exceeded! Current cost: 14.2, Max budget: 10.0"
DENIED = "key not allowed to access model. This key can only access models=['a']. Tried to access b"

LITELLM = [
    # https://github.com/BerriAI/litellm/pull/39660, https://github.com/BerriAI/litellm/issues/38629
    (403, error(DENIED, "key_model_access_denied", "403", param="model"), MODEL_LOST),
    (401, error(DENIED, "key_model_access_denied", "401", param="model"), MODEL_LOST),
    (403, error("team not allowed to access model.", "team_model_access_denied", "403"), MODEL_LOST),
    (401, error("team not allowed to access model.", "team_model_access_denied", "401"), MODEL_LOST),
    # https://github.com/BerriAI/litellm/issues/8688, of versions that named nothing
    (401, error("Authentication Error, API Key not allowed to access model.", "auth_error", "401"), MODEL_LOST),
    # https://github.com/BerriAI/litellm/issues/8821, /9663, /3142
    (
        400,
        error(
            {"error": "/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view"},
            "None",
            "400",
        ),
        MODEL_LOST,
    ),
    (400, error("400: {'error': 'Invalid model name passed in model=x'}", "None", 400), MODEL_LOST),
    # https://github.com/BerriAI/litellm/issues/14144, /4208; https://docs.litellm.ai/docs/proxy/users
    (400, error(BUDGET, "budget_exceeded", "400"), OUT_OF_CREDIT),
    (429, error(BUDGET, "budget_exceeded", "429"), OUT_OF_CREDIT),
    (400, error(BUDGET, "auth_error", 400), OUT_OF_CREDIT),
    (429, error("No deployments available - crossed budget: Exceeded budget for deployment"), OUT_OF_CREDIT),
    (429, error("ExceededBudget: Team=t over budget. Spend=1.1, Budget=1.0", "auth_error"), OUT_OF_CREDIT),
    # https://github.com/BerriAI/litellm/issues/18731, /18474
    (400, error("Authentication Error - Expired Key. Key Expiry time 2025-01-01", "expired_key", "400"), REVOKED),
    (401, error("Authentication Error, Invalid proxy server token passed.", "token_not_found_in_db", "401"), REVOKED),
    # A prompt's fault, whatever it speaks of
    (400, error("thinking.budget_tokens must be below max_tokens", "invalid_request_error", "400"), FINAL),
    (400, error("The model produced invalid model output", "invalid_request_error"), FINAL),
]


@every_provider
@pytest.mark.parametrize(("status", "document", "kind"), LITELLM)
def test_litellms_errors_mean_the_same_whatever_stands_behind_it(
    provider: Provider, status: int, document: dict[str, Any], kind: VerdictKind
) -> None:
    assert verdict_of(provider, status, document).kind is kind


FORBIDDEN = [
    # https://github.com/open-webui/open-webui/issues/2250
    ("You are not allowed to sample from this model", MODEL_LOST),
    ("The requested model 'x' is not available for this API key", MODEL_LOST),
    ("You don't have access to this model or the model name is invalid", MODEL_LOST),
    ("Your plan has no access to the model x.", MODEL_LOST),
    ("Access to model x is denied.", MODEL_LOST),
    ("The model x is no longer available on this plan", MODEL_LOST),
    ("Model x isn't enabled for this project", MODEL_LOST),
    # Regions: https://github.com/standardagents/dmux/issues/43, https://github.com/anomalyco/opencode/issues/47949
    ("This model is not available in your region.", UNREACHABLE),
    ("This model is not available in your country.", UNREACHABLE),
    # Content, which no other key would allow: https://openrouter.ai/docs/api/reference/errors-and-debugging
    ('x/y requires moderation on Z. Your input was flagged for "violence"', FINAL),
    ("Your prompt is not allowed by the content policy of this model", FINAL),
    ("The model is not allowed to answer what violates the rules of its provider", FINAL),
    ("This is not permitted by the usage policies; the model was not called", FINAL),
    ("Not available: the model's safety filter objects", FINAL),
    # What speaks of no model
    ("You are not allowed to do this", FINAL),
    ("Forbidden", FINAL),
    ("Input token count + max_tokens must be less than the model's context length", FINAL),
]


@every_provider
@pytest.mark.parametrize(("message", "kind"), FORBIDDEN)
def test_a_403_loses_a_model_where_it_says_that_the_key_may_not_use_it(
    provider: Provider, message: str, kind: VerdictKind
) -> None:
    assert verdict_of(provider, 403, error(message)).kind is kind


def test_only_a_403_that_speaks_of_access_to_a_model_loses_it() -> None:
    assert verdict_of("openai", 400, error("You are not allowed to use tools with this model")).kind is FINAL


@every_provider
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "message",
    [
        # https://github.com/aandrew-me/tgpt/issues/159, which had no code; the others' words as they come with one:
        # https://github.com/Zero6992/chatGPT-discord-bot/issues/442, https://github.com/ChatGPTNextWeb/NextChat/issues/4176
        "Your OpenAI account has been deactivated, please check your email for more information.",
        "This key is associated with a deactivated account.",
        "The OpenAI account associated with this API key has been deactivated.",
        # https://github.com/anthropics/claude-code/issues/72457
        "This organization has been disabled.",
        "This API key was permanently disabled.",
        "Your account has been disabled and has no access to any model.",
    ],
)
def test_a_deactivated_account_is_told_by_words_alone(provider: Provider, status: int, message: str) -> None:
    assert verdict_of(provider, status, error(message, "requests")).kind is REVOKED


@pytest.mark.parametrize(
    ("provider", "status", "document", "is_own"),
    [
        # https://help.openai.com/en/articles/6614457: a project's limit, while other projects go on
        ("openai", 429, error("m", "insufficient_quota", "project_spend_limit_exceeded"), True),
        ("compatible", 429, error("m", "insufficient_quota", "project_spend_limit_exceeded"), True),
        ("openai", 429, error("m", "insufficient_quota", "organization_spend_limit_exceeded"), False),
        ("openai", 429, error("m", "insufficient_quota", "insufficient_quota"), False),
        # https://github.com/anthropics/claude-code/issues/55998
        ("anthropic", 400, error("You have reached your specified workspace API usage limits."), True),
        ("anthropic", 400, error("You have reached your specified API usage limits."), False),
        # https://openrouter.ai/docs/guides/features/workspaces/workspace-budgets,
        # https://github.com/danielsmithdevelopment/ClawQL/pull/876
        ("compatible", 403, error("Workspace monthly budget of $500.00 exceeded. Contact your admin.", code=403), True),
        ("compatible", 403, error("Key limit exceeded (total limit). Manage it using https://x", code=403), True),
        ("compatible", 402, error("m", code=402, metadata={"reason": "key_limit"}), True),
        ("compatible", 402, error("Insufficient credits", code=402), False),
        ("openai", 400, error(BUDGET, "budget_exceeded", "400"), True),
    ],
)
def test_what_a_project_may_spend_is_told_apart_from_what_the_account_has(
    provider: Provider, status: int, document: dict[str, Any], is_own: bool
) -> None:
    verdict = verdict_of(provider, status, document)
    assert (verdict.kind, verdict.is_own_budget) == (OUT_OF_CREDIT, is_own)


@pytest.mark.parametrize(
    ("message", "headers", "wait_ms"),
    [
        # https://github.com/Gitlawb/openclaude/issues/936, of OpenRouter
        ("Rate limit exceeded: free-models-per-day. Add 10 credits", {}, DAY_LIMIT_REST_MS),
        ("You have used your daily quota", {}, DAY_LIMIT_REST_MS),
        ("Rate limit of 50 per 86400s exceeded for UserByModelByDay.", {}, DAY_LIMIT_REST_MS),
        ("You have used your daily quota", {"retry-after": "0"}, DAY_LIMIT_REST_MS),
        ("You have used your daily quota", {"retry-after": "40"}, 40_000),
        ("Limits are per minute and per day", {}, DEFAULT_COOLDOWN_MS),
        ("Rate limit exceeded: free-models-per-min.", {}, DEFAULT_COOLDOWN_MS),
        ("busy", {}, DEFAULT_COOLDOWN_MS),
    ],
)
def test_a_limit_of_a_day_that_tells_no_wait_is_not_asked_about_every_second(
    message: str, headers: dict[str, str], wait_ms: int
) -> None:
    verdict = classify("compatible", 429, headers, json.dumps(error(message)).encode())
    assert (verdict.kind, verdict.wait_ms) == (RATE_LIMITED, wait_ms)


@pytest.mark.parametrize(
    ("provider", "document", "kind"),
    [
        ("openai", error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), OUT_OF_CREDIT),
        ("compatible", error("quota", None, "insufficient_quota"), OUT_OF_CREDIT),
        ("openai", error("Rate limit reached", "requests", "rate_limit_exceeded"), RATE_LIMITED),
        ("openai", error("Incorrect API key", "invalid_request_error", "invalid_api_key"), REVOKED),
        ("openai", error("no such model", "invalid_request_error", "model_not_found"), MODEL_LOST),
        ("openai", error("too long", "invalid_request_error", "context_length_exceeded"), FINAL),
        ("openai", error("'messages' is a required property", "invalid_request_error"), FINAL),
        ("openai", error("The server had an error", "server_error"), RETRYABLE),
        ("compatible", error("Arrears", "Arrearage", "Arrearage"), OUT_OF_CREDIT),
        ("compatible", error("Rate limited", None, "429"), RATE_LIMITED),
        ("compatible", error("Insufficient credits", None, "402"), OUT_OF_CREDIT),
        ("compatible", error("odd", None, 1302), RETRYABLE),
        ("compatible", error("odd", "odd_error"), RETRYABLE),
        ("anthropic", {"type": "error", "error": {"type": "authentication_error", "message": "no"}}, REVOKED),
        ("anthropic", {"type": "error", "error": {"type": "rate_limit_error", "message": "busy"}}, RATE_LIMITED),
    ],
)
def test_an_error_that_comes_with_200_and_without_a_status_is_judged_by_its_names(
    provider: Provider, document: dict[str, Any], kind: VerdictKind
) -> None:
    assert verdict_of(provider, 200, document).kind is kind
