"""The error documents of the real providers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from keyfleet.sim.config import Flavour, Kind, SimLimit
from keyfleet.sim.enforcement import Refusal
from keyfleet.sim.headers import duration_text, retry_headers
from keyfleet.sim.image_models import is_dall_e

__all__ = [
    "NAMED_ERRORS",
    "ApiError",
    "incorrect_api_key",
    "invalid_request",
    "limit_refusal",
    "missing_api_key",
    "model_not_found",
    "spurious_refusal",
    "too_many_inputs",
]

_LIMITS_PAGE = "Visit https://platform.openai.com/account/rate-limits to learn more."
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error answer. `headers` are further header lines, each ended by CRLF.

    `shape` is whose document it becomes: Azure's has no type and param, Anthropic's no code.
    """

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    headers: str = ""
    shape: Flavour = "openai"

    def document(self) -> dict[str, Any]:
        """What the answer holds."""
        if self.shape == "azure":
            return {"error": {"code": self.code, "message": self.message}}
        if self.shape == "anthropic":
            return {"type": "error", "error": {"type": self.type, "message": self.message}}
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """The JSON text of the answer."""
        return json.dumps(self.document(), indent=2 if self.shape == "openai" else None).encode()


def invalid_request(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> ApiError:
    """An `invalid_request_error`."""
    return ApiError(status, message, "invalid_request_error", code, param)


def too_many_inputs(count: int, most: int) -> ApiError:
    """413, as Text Embeddings Inference words it."""
    return invalid_request(
        f"batch size {count} > maximum allowed batch size {most}", code="batch_too_large", status=413
    )


def model_not_found(model: str) -> ApiError:
    """404, the same for a model that doesn't exist and one that the key may not use."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return invalid_request(message, code="model_not_found", status=404)


def missing_api_key() -> ApiError:
    """401 for a request without a key."""
    message = (
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY)."
    )
    return invalid_request(message, status=401)


def incorrect_api_key(api_key: str) -> ApiError:
    """401 that quotes the key's ends, as OpenAI does: what reads it must not pass it on."""
    shown = f"{api_key[:8]}{'*' * (len(api_key) - 12)}{api_key[-4:]}" if len(api_key) > 16 else "*" * len(api_key)
    message = (
        f"Incorrect API key provided: {shown}. You can find your API key at "
        "https://platform.openai.com/account/api-keys."
    )
    return invalid_request(message, code="invalid_api_key", status=401)


def _period(limit: SimLimit) -> str:
    """Windows under an hour stand for minutes, since tests scale them down."""
    return "day" if limit.window_s >= 86_400 else "hour" if limit.window_s >= 3600 else "min"


def _limit_words(limit: SimLimit) -> str:
    """`tokens per min (TPM)`; of images, without an abbreviation, `input-images per min`."""
    period = _period(limit)
    if limit.of == "images":
        return f"{_unit_word(limit)} per {period}"
    return f"{limit.of} per {period} ({limit.of[0].upper()}P{period[0].upper()})"


def _unit_word(limit: SimLimit) -> str:
    return "input-images" if limit.of == "images" else limit.of


def limit_refusal(refusal: Refusal, *, model: str, group: str, kind: Kind, operation: str) -> ApiError:
    """429 for a request that a limit refuses; one that can never fit gets no time to wait, as at OpenAI."""
    limit, wait_ns = refusal.limit, refusal.wait_ns
    if kind == "fixed":
        return _azure_refusal(refusal, operation)
    if limit.of == "images" and is_dall_e(model):
        return _refusal_of_dall_e(refusal, group)
    where = f"{model} in organization org-{group} on {_limit_words(limit)}: Limit {limit.amount}"
    if wait_ns is None:
        message = f"Request too large for {where}, Requested {refusal.requested}. The input or output tokens must be "
        message += f"reduced in order to run successfully. {_LIMITS_PAGE}"
        return ApiError(429, message, _unit_word(limit), "rate_limit_exceeded")
    message = f"Rate limit reached for {where}, Used {refusal.used}, Requested {refusal.requested}. "
    message += f"Please try again in {duration_text(wait_ns)}. {_LIMITS_PAGE}"
    return ApiError(429, message, _unit_word(limit), "rate_limit_exceeded", headers=retry_headers(wait_ns))


def _refusal_of_dall_e(refusal: Refusal, group: str) -> ApiError:
    """DALL-E has words of its own, the same whether the request could ever fit or not."""
    limit, period = refusal.limit, _period(refusal.limit)
    message = (
        f"Rate limit exceeded for images per {'minute' if period == 'min' else period} in organization org-{group}. "
        f"Limit: {limit.amount}/1{period}. Current: {refusal.used + refusal.requested}/1{period}. Please visit "
        "https://platform.openai.com/docs/guides/rate-limits to learn how to increase your rate limit."
    )
    headers = "" if refusal.wait_ns is None else retry_headers(refusal.wait_ns)
    return ApiError(429, message, "requests", "rate_limit_exceeded", headers=headers)


def _azure_refusal(refusal: Refusal, operation: str) -> ApiError:
    """Azure tells one that can never fit to wait for a day."""
    wait_ns = 86_400 * 1000 * _NS_PER_MS if refusal.wait_ns is None else refusal.wait_ns
    what = "token" if refusal.limit.of == "tokens" else "call"
    message = (
        f"Requests to the {operation} Operation under Azure OpenAI API version 2024-10-21 have exceeded {what} rate "
        f"limit of your current OpenAI S0 pricing tier. Please retry after {-(-wait_ns // (1000 * _NS_PER_MS))} "
        "seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default "
        "rate limit."
    )
    return ApiError(429, message, "", "429", headers=retry_headers(wait_ns), shape="azure")


def spurious_refusal(wait_ms: int, *, model: str, group: str) -> ApiError:
    """429 though there is room."""
    message = (
        f"Rate limit reached for {model} in organization org-{group} on requests per min (RPM). "
        f"Please try again in {duration_text(wait_ms * _NS_PER_MS)}. {_LIMITS_PAGE}"
    )
    return ApiError(429, message, "requests", "rate_limit_exceeded", headers=retry_headers(wait_ms * _NS_PER_MS))


_SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"
_OVERLOADED = "The engine is currently overloaded, please try again later."
_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)
_CONTENT = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
_CONTEXT = "This model's maximum context length is 8192 tokens. Please reduce the length of the messages."
_DEACTIVATED = (
    "The OpenAI account associated with this API key has been deactivated. If you are the account owner, check your "
    "email for more information."
)
_REGION = "Country, region, or territory not supported"
_SLOW_DOWN = "Your request rate increased too fast. Please slow down."

NAMED_ERRORS: dict[str, ApiError] = {
    "400": invalid_request("Invalid value: the stand-in was told to refuse this request.", code="invalid_value"),
    "401": invalid_request("Incorrect API key provided.", code="invalid_api_key", status=401),
    "403": invalid_request("Project does not have access to this model.", code="model_not_found", status=403),
    "404": invalid_request("The model does not exist.", code="model_not_found", status=404),
    "408": ApiError(408, "Request timed out.", "server_error"),
    "409": ApiError(409, "The resource was changed by another request.", "conflict_error"),
    "413": invalid_request("The request is too large.", status=413),
    "422": invalid_request("The request could not be processed.", status=422),
    "500": ApiError(500, _SERVER_ERROR, "server_error"),
    "502": ApiError(502, "Bad gateway.", "server_error"),
    "503": ApiError(503, _OVERLOADED, "server_error", "service_unavailable"),
    "504": ApiError(504, "Gateway timeout.", "server_error"),
    "529": ApiError(529, "Overloaded.", "overloaded_error"),
    "account_deactivated": invalid_request(_DEACTIVATED, code="account_deactivated", status=401),
    "unsupported_country": ApiError(403, _REGION, "request_forbidden", "unsupported_country_region_territory"),
    "insufficient_quota": ApiError(429, _QUOTA, "insufficient_quota", "insufficient_quota"),
    "slow_down": ApiError(503, _SLOW_DOWN, "slow_down", "slow_down"),
    "content_policy": invalid_request(_CONTENT, code="invalid_prompt"),
    "context_length": invalid_request(_CONTEXT, code="context_length_exceeded", param="messages"),
}
"""Errors that a request can ask for by a marker, by the word that stands in it."""
