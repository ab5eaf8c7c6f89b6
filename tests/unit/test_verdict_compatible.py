"""What the answers of compatible servers mean, where the same code may mean a busy minute or an empty account."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet_workers.provider import SaidLimit, VerdictKind, classify

FINAL, RETRYABLE, RATE_LIMITED = VerdictKind.FINAL, VerdictKind.RETRYABLE, VerdictKind.RATE_LIMITED
OUT_OF_CREDIT, REVOKED, MODEL_LOST = VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED, VerdictKind.MODEL_LOST
UNREACHABLE, TOO_LARGE, SUCCESS = VerdictKind.UNREACHABLE, VerdictKind.TOO_LARGE, VerdictKind.SUCCESS


def error(message: str, kind: str | None = None, code: Any = None, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code, **fields}}


def kind_of(status: int, document: Any, headers: dict[str, str] | None = None) -> VerdictKind:
    return classify("compatible", status, headers or {}, json.dumps(document).encode()).kind


QUOTA = "You exceeded your current quota, please check your plan and billing details."
GEMINI = (
    f"{QUOTA} For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota "
    "exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: {}\n"
    "Please retry in {}."
)

TABLE = [
    # DeepSeek: https://api-docs.deepseek.com/quick_start/error_codes, https://github.com/continuedev/continue/issues/9180
    (402, error("Insufficient Balance", "unknown_error", "invalid_request_error"), OUT_OF_CREDIT),
    (400, error("Model Not Exist", "invalid_request_error", "invalid_request_error"), MODEL_LOST),
    # OpenRouter: https://openrouter.ai/docs/api/reference/errors-and-debugging
    (
        402,
        error("Insufficient credits. Add more using https://openrouter.ai/settings/credits", code=402),
        OUT_OF_CREDIT,
    ),
    (403, error("Input was flagged", code=403, metadata={"reasons": ["violence"]}), FINAL),
    (403, error("Budget limit exceeded", code=403), OUT_OF_CREDIT),
    (404, error("No endpoints found for x/y.", code=404), MODEL_LOST),
    (400, error("x/y is not a valid model ID", code=400), MODEL_LOST),
    (408, error("Your request timed out", code=408), RETRYABLE),
    (502, error("Provider returned error", code=502), RETRYABLE),
    (429, error("Rate limit exceeded: free-models-per-min.", code=429), RATE_LIMITED),
    # Groq: https://console.groq.com/docs/errors, https://github.com/songquanpeng/one-api/issues/271
    (400, error("Organization has been restricted.", "invalid_request_error", "organization_restricted"), REVOKED),
    (400, error("The model `x` has been decommissioned", "invalid_request_error", "model_decommissioned"), MODEL_LOST),
    (403, error("Access denied. Please check your network settings."), UNREACHABLE),
    # A gateway: https://github.com/truefoundry/models/pull/949
    (
        403,
        error("User x is not authorized to access model m or model does not exist", "AuthorizationError"),
        MODEL_LOST,
    ),
    # Moonshot: https://forum.moonshot.ai/t/429-insufficient-balance/244, https://github.com/666ghj/BettaFish/issues/351,
    # https://www.kimi.com/code/docs/en/kimi-code/error-reference.html
    (
        429,
        error("Your account org-1 is suspended, please check your plan", "exceeded_current_quota_error"),
        OUT_OF_CREDIT,
    ),
    (429, error("The engine is currently overloaded, please try again later", "engine_overloaded_error"), RATE_LIMITED),
    (404, error("Not found the model x or Permission denied", "resource_not_found_error"), MODEL_LOST),
    (403, error("You've reached your usage limit for this billing cycle"), OUT_OF_CREDIT),
    # Gemini: https://github.com/FoundationAgents/OpenManus/issues/803 (its errors come in a list),
    # https://github.com/continuedev/continue/issues/9939
    (
        [{"error": {"code": 404, "message": "models/x is not found for API version v1main", "status": "NOT_FOUND"}}],
        404,
        MODEL_LOST,
    ),
    (
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        400,
        REVOKED,
    ),
    (
        [
            {
                "error": {
                    "code": 400,
                    "message": "User location is not supported for the API use.",
                    "status": "FAILED_PRECONDITION",
                }
            }
        ],
        400,
        UNREACHABLE,
    ),
    # https://ai.google.dev/gemini-api/docs/troubleshooting
    (403, [error("Your API key was reported as leaked.", code=403, status="PERMISSION_DENIED")], REVOKED),
    (403, [error("You are not allowed to do this.", code=403, status="PERMISSION_DENIED")], MODEL_LOST),
    (403, [error("No", code=403)], FINAL),
    (
        429,
        [error("Resource has been exhausted (e.g. check quota).", code=429, status="RESOURCE_EXHAUSTED")],
        RATE_LIMITED,
    ),
    # xAI: https://github.com/continuedev/continue/issues/10373, https://github.com/tetsuo-ai/agenc-core/pull/2483
    (429, {"error": "Your team 1 has either used all available credits or reached its spending limit."}, OUT_OF_CREDIT),
    (403, {"code": "personal-team-blocked:spending-limit", "error": "You have run out of credits"}, OUT_OF_CREDIT),
    (403, {"error": "Your newly created team doesn't have any credits or licenses yet."}, OUT_OF_CREDIT),
    # DashScope: https://github.com/hsliuping/TradingAgents-CN/issues/170
    (
        400,
        error("Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage"),
        OUT_OF_CREDIT,
    ),
    # Zhipu: https://github.com/continuedev/continue/issues/10297, https://github.com/7836246/cursor2api/issues/30
    (429, error("余额不足或无可用资源包,请充值。", code="1113"), OUT_OF_CREDIT),
    # Mistral: https://github.com/raycast/extensions/issues/31107, https://github.com/tmc/langchaingo/issues/1233
    (
        429,
        {"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited", "code": "1300"},
        RATE_LIMITED,
    ),
    (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}, MODEL_LOST),
    # vLLM: vllm/entrypoints/openai/protocol.py, ErrorResponse, in its newer and its older shape
    (404, error("The model `org/x-2.5-7B` does not exist.", "NotFoundError", 404), MODEL_LOST),
    (400, {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, FINAL),
    (401, {"error": "Unauthorized"}, REVOKED),
    # Ollama (server/routes.go); new-api: https://github.com/popjane/free_chatgpt_api/issues/78; FastAPI
    (404, error('model "x" not found, try pulling it first', "api_error"), MODEL_LOST),
    (403, error("user quota is not enough", "v_api_error", "insufficient_user_quota"), OUT_OF_CREDIT),
    (404, {"detail": "Not Found"}, FINAL),
    (429, {"error": "Too many requests"}, RATE_LIMITED),
    # Together: https://docs.together.ai/docs/error-codes: 403 also for a prompt that is too long
    (403, error("Input token count + max_tokens must be less than the context length", "invalid_request_error"), FINAL),
    (503, error("The engine is overloaded"), RETRYABLE),
    # OpenAI's own names keep their meaning
    (403, error("m", "request_forbidden", "unsupported_country_region_territory"), UNREACHABLE),
]


@pytest.mark.parametrize(("one", "other", "kind"), TABLE)
def test_an_error_means_what_its_document_says(one: Any, other: Any, kind: VerdictKind) -> None:
    status, document = (one, other) if isinstance(one, int) else (other, one)
    assert kind_of(status, document) is kind


@pytest.mark.parametrize(
    ("document", "headers", "kind"),
    [
        # The code of an empty account, with nothing said against it
        (error(QUOTA, "insufficient_quota", "insufficient_quota"), {}, OUT_OF_CREDIT),
        (error("quota", None, "insufficient_quota"), {}, OUT_OF_CREDIT),
        (error(QUOTA, "insufficient_quota"), {"retry-after": "86400"}, OUT_OF_CREDIT),
        # A wait of minutes at most is a busy minute, also where the message has it
        (error(QUOTA, "insufficient_quota", "insufficient_quota"), {"retry-after": "30"}, RATE_LIMITED),
        (error(GEMINI.format(15, "34.074824224s"), None, 429, status="RESOURCE_EXHAUSTED"), {}, RATE_LIMITED),
        # So is a limit that is named as one of a minute
        (error("insufficient quota: 60 RPM", None, "insufficient_quota"), {}, RATE_LIMITED),
        (error("quota per minute exceeded", None, "insufficient_quota"), {}, RATE_LIMITED),
        (error("too many concurrent requests", None, "insufficient_quota"), {}, RATE_LIMITED),
        (error("daily quota exceeded", None, "insufficient_quota"), {}, RATE_LIMITED),
        # Money without the code; an address that speaks of it doesn't count
        (error("Your credit balance is used up, please recharge"), {}, OUT_OF_CREDIT),
        (error("Rate limit exceeded, add credits for more"), {}, RATE_LIMITED),
        (error("Please slow. See https://x.example/settings/billing"), {}, RATE_LIMITED),
        (error("Upgrade your plan"), {}, RATE_LIMITED),
        (error("Add credit", None, "rate_limit_exceeded"), {}, RATE_LIMITED),
        (error("busy"), {}, RATE_LIMITED),
    ],
)
def test_a_429_is_an_empty_account_only_where_nothing_speaks_of_a_busy_minute(
    document: dict[str, Any], headers: dict[str, str], kind: VerdictKind
) -> None:
    assert kind_of(429, document, headers) is kind


def test_groqs_limit_is_one_of_a_minute_though_it_speaks_of_billing() -> None:
    # https://github.com/elizaOS/eliza/issues/4040
    message = (
        "Rate limit reached for model `x` in organization `org_1` service tier `on_demand` on tokens per minute (TPM): "
        "Limit 6000, Used 5034, Requested 1443. Please try again in 4.77s. Need more tokens? Upgrade to Dev Tier today "
        "at https://console.groq.com/settings/billing"
    )
    verdict = classify("compatible", 429, {}, json.dumps(error(message, "tokens", "rate_limit_exceeded")).encode())
    assert (verdict.kind, verdict.wait_ms, verdict.limit) == (
        RATE_LIMITED,
        4770,
        SaidLimit("tokens", 6000, 60, 1443),
    )


def test_groqs_413_is_a_request_larger_than_the_limit() -> None:
    # https://github.com/continuedev/continue/issues/10218
    message = (
        "Request too large for model `x` in organization `org_1` service tier `on_demand` on tokens per minute (TPM): "
        "Limit 12000, Requested 14137, please reduce your message size and try again."
    )
    verdict = classify("compatible", 413, {}, json.dumps(error(message, "tokens", "rate_limit_exceeded")).encode())
    assert (verdict.kind, verdict.limit) == (TOO_LARGE, SaidLimit("tokens", 12_000, 60, 14_137))


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        # https://github.com/MoonshotAI/Kimi-K2/issues/34, https://github.com/LLM-Red-Team/kimi-cc/issues/41
        ("organization max RPM: 3, please try again after 1 seconds", SaidLimit("requests", 3, 60, None)),
        ("project TPM rate limit, current: 1410, limit: 100, see", SaidLimit("tokens", 100, 60, None)),
    ],
)
def test_moonshots_limits_are_read(words: str, limit: SaidLimit) -> None:
    document = error(f"Your account org-1 request reached {words}", "rate_limit_reached_error")
    verdict = classify("compatible", 429, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.wait_ms, verdict.limit) == (RATE_LIMITED, 1000, limit)


@pytest.mark.parametrize(
    "document",
    [
        error("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free requests", code=429),
        error(GEMINI.format(250, "5s"), details=[{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]),
    ],
)
def test_a_limit_of_a_day_is_told_apart(document: dict[str, Any]) -> None:
    verdict = classify("compatible", 429, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.is_day_limit) == (RATE_LIMITED, True)


def test_a_model_that_geminis_free_tier_does_not_have_is_lost() -> None:
    # https://github.com/continuedev/continue/issues/12643
    assert kind_of(429, error(GEMINI.format("0, model: gemini-3-pro", "11s"), None, 429)) is MODEL_LOST


@pytest.mark.parametrize(
    ("reason", "headers", "kind"),
    [
        ("in_flight_budget_exhausted", {"retry-after": "3"}, RATE_LIMITED),
        ("weight_exceeds_budget", {"retry-after": "3"}, TOO_LARGE),
        ("key_limit", {}, OUT_OF_CREDIT),
    ],
)
def test_openrouters_budget_for_calls_under_way_is_no_empty_account(
    reason: str, headers: dict[str, str], kind: VerdictKind
) -> None:
    assert kind_of(402, error("m", code=402, metadata={"reason": reason}), headers) is kind


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        # https://openrouter.ai/docs/api/reference/errors-and-debugging: errors after the call began come with 200
        (error("Provider returned error", code=502), RETRYABLE),
        (error("Insufficient credits", code=402), OUT_OF_CREDIT),
        (error("upstream"), RETRYABLE),
        ({"error": "upstream"}, RETRYABLE),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, RETRYABLE),
        # https://platform.openai.com/docs/api-reference/responses/object: a good answer has the field too
        ({"error": None, "output": [{"type": "message"}]}, SUCCESS),
        ({"error": {"message": "one of two"}, "choices": [{"index": 0}]}, SUCCESS),
        ({"choices": []}, SUCCESS),
    ],
)
def test_an_error_that_comes_with_200_is_an_error_all_the_same(document: dict[str, Any], kind: VerdictKind) -> None:
    assert kind_of(200, document) is kind
