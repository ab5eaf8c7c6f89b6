"""What Azure OpenAI's answers mean: its errors have a code, often the status as a text, and no type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet_workers.provider import VerdictKind, classify

FINAL, RETRYABLE, RATE_LIMITED = VerdictKind.FINAL, VerdictKind.RETRYABLE, VerdictKind.RATE_LIMITED
OUT_OF_CREDIT, REVOKED, MODEL_LOST = VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED, VerdictKind.MODEL_LOST
UNREACHABLE, TOO_LARGE = VerdictKind.UNREACHABLE, VerdictKind.TOO_LARGE


def error(code: str, message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **fields}}


CALL_RATE = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have exceeded call "
    "rate limit of your current OpenAI S0 pricing tier. Please retry after {} seconds. Please go here: "
    "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
)
TOKEN_RATE = CALL_RATE.replace("exceeded call", "exceeded token")

TABLE = [
    # https://github.com/SciSharp/BotSharp/issues/386
    (401, error("401", "Access denied due to invalid subscription key or wrong API endpoint."), REVOKED),
    # https://github.com/microsoft/PromptWizard/issues/18
    (401, error("PermissionDenied", "Principal does not have access to API/Operation."), REVOKED),
    # https://github.com/Azure-Samples/azure-sql-db-chatbot/issues/3
    (403, error("403", "Access denied due to Virtual Network/Firewall rules."), UNREACHABLE),
    # https://github.com/continuedev/continue/issues/12547
    (
        403,
        error("403", "A Virtual Network is configured for this resource. Please use the correct endpoint."),
        UNREACHABLE,
    ),
    # https://github.com/TabularEditor/TabularEditor3/issues/1557
    (403, error("AccessDenied", "Public access is disabled. Please configure private endpoint."), UNREACHABLE),
    # https://learn.microsoft.com/azure/ai-services/disable-local-auth
    (403, error("AuthenticationTypeDisabled", "Key based authentication is disabled for this resource."), REVOKED),
    # https://github.com/chatboxai/chatbox/issues/646
    (404, error("DeploymentNotFound", "The API deployment for this resource does not exist."), MODEL_LOST),
    # RFC 9110, section 15.5.11: gone for good, as a deployment is whose model was retired
    (410, error("410", "The model gpt-35-turbo-0301 is deprecated and its deployment is gone."), MODEL_LOST),
    # https://github.com/langchain-ai/langchain/issues/13284: a wrong path or version
    (404, error("404", "Resource not found"), FINAL),
    (
        400,
        error("OperationNotSupported", "The chatCompletion operation does not work with the specified model."),
        FINAL,
    ),
    # https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter
    (
        400,
        error(
            "content_filter",
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            param="prompt",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
        FINAL,
    ),
    (400, error("context_length_exceeded", "This model's maximum context length is 8192 tokens."), FINAL),
    (408, error("Timeout", "The operation was timeout."), RETRYABLE),
    (500, error("InternalServerError", "Backend returned unexpected response."), RETRYABLE),
    (503, error("ServiceUnavailable", "The service is temporarily unable to process your request."), RETRYABLE),
    # https://github.com/langgenius/dify/issues/12709
    (429, error("429", CALL_RATE.format(6)), RATE_LIMITED),
    (429, error("429", "Rate limit is exceeded. Try again in 30 seconds."), RATE_LIMITED),
    (429, error("insufficient_quota", "You exceeded your current quota"), OUT_OF_CREDIT),
]


@pytest.mark.parametrize(("status", "document", "kind"), TABLE)
def test_an_error_means_what_its_document_says(status: int, document: dict[str, Any], kind: VerdictKind) -> None:
    verdict = classify("azure", status, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.code, verdict.document) == (kind, document["error"]["code"], document)


@pytest.mark.parametrize(
    ("message", "headers", "wait_ms"),
    [
        (CALL_RATE.format(6), {}, 6000),
        (TOKEN_RATE.format(54), {}, 54_000),
        (TOKEN_RATE.format(54), {"retry-after-ms": "700"}, 700),
        ("Rate limit is exceeded. Try again in 30 seconds.", {}, 30_000),
    ],
)
def test_the_wait_is_read_from_the_message_where_no_header_tells_it(
    message: str, headers: dict[str, str], wait_ms: int
) -> None:
    verdict = classify("azure", 429, headers, json.dumps(error("429", message)).encode())
    assert (verdict.kind, verdict.wait_ms, verdict.is_day_limit) == (RATE_LIMITED, wait_ms, False)


def test_a_request_that_needs_more_tokens_than_a_minute_has_is_too_large_though_azure_says_to_wait_a_day() -> None:
    # https://github.com/alex-wolf-ps/dbchatprov2/issues/2, https://github.com/jasonacox/TinyLLM/issues/17
    body = json.dumps(error("429", TOKEN_RATE.format(86_400))).encode()
    verdict = classify("azure", 429, {}, body)
    assert (verdict.kind, verdict.limit, verdict.wait_ms) == (TOO_LARGE, None, None)
    assert classify("openai", 429, {}, body).kind is RATE_LIMITED


@pytest.mark.parametrize(
    ("wait", "wait_ms"), [("5.03:23:11", 24 * 3600 * 1000), ("03:23:11", 12_191_000), ("00:00:07", 7000)]
)
def test_a_subscription_without_calls_left_rests_until_they_are_replenished(wait: str, wait_ms: int) -> None:
    # https://github.com/MicrosoftDocs/azure-docs/issues/16282, https://github.com/goferito/node-bing-api/issues/34
    document = {"statusCode": 403, "message": f"Out of call volume quota. Quota will be replenished in {wait}."}
    verdict = classify("azure", 403, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.is_day_limit, verdict.wait_ms) == (RATE_LIMITED, True, wait_ms)


def test_a_subscription_without_calls_left_that_does_not_say_until_when_is_as_good_as_empty() -> None:
    document = {"statusCode": 403, "message": "Out of call volume quota."}
    verdict = classify("azure", 403, {}, json.dumps(document).encode())
    assert (verdict.kind, verdict.is_own_budget) == (OUT_OF_CREDIT, True)


def test_a_limit_of_a_day_is_told_by_its_seconds() -> None:
    # GitHub Models and others on Azure AI
    message = "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 57000 seconds before retrying."
    verdict = classify("azure", 429, {}, json.dumps(error("RateLimitReached", message)).encode())
    assert (verdict.kind, verdict.is_day_limit, verdict.wait_ms) == (RATE_LIMITED, True, 57_000_000)
    assert verdict.limit is not None
    assert (verdict.limit.amount, verdict.limit.window_s) == (50, 86_400)
