"""The same errors and limits as Azure and Anthropic tell them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timezone

from keyfleet.sim.config import Flavour
from keyfleet.sim.enforcement import Standing
from keyfleet.sim.error_bodies import ApiError
from keyfleet.sim.headers import rate_limit_headers

__all__ = ["in_flavour", "limit_headers", "not_of_this_provider"]

_NS_PER_S = 1_000_000_000
_MODEL = re.compile(r"`([^`]*)`")
_MILLISECONDS = re.compile(r"retry-after-ms: \d+\r\n")

_AZURE = {
    "invalid_api_key": (
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
        "active subscription and use a correct regional API endpoint for your resource.",
    ),
    "account_deactivated": (401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    "unsupported_country_region_territory": (403, "403", "Access denied due to Virtual Network/Firewall rules."),
    "model_not_found": (
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
        "please wait a moment and try again.",
    ),
    "unknown_url": (404, "404", "Resource not found"),
    "service_unavailable": (503, "ServiceUnavailable", "The service is temporarily unable to process your request."),
}
"""Status, code and message by OpenAI's code."""

_ANTHROPIC = {
    "invalid_api_key": (401, "authentication_error", "invalid x-api-key"),
    "account_deactivated": (400, "invalid_request_error", "This organization has been disabled."),
    "insufficient_quota": (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits.",
    ),
    "unsupported_country_region_territory": (403, "forbidden", "Request not allowed"),
    "model_not_found": (404, "not_found_error", "model: {model}"),
    "unknown_url": (404, "not_found_error", "Not Found"),
    "service_unavailable": (529, "overloaded_error", "Overloaded"),
    "rate_limit_exceeded": (
        429,
        "rate_limit_error",
        "This request would exceed your account's rate limit. Please try again later.",
    ),
}

_ANTHROPIC_TYPES = {401: "authentication_error", 413: "request_too_large", 429: "rate_limit_error"}
"""The types of Anthropic's errors that have no name above, by status; others below 500 are invalid requests."""


def in_flavour(error: ApiError, flavour: Flavour) -> ApiError:
    """What a provider of this kind says in place of OpenAI's `error`."""
    if flavour == "azure":
        status, code, message = _AZURE.get(
            error.code or "", (error.status, error.code or str(error.status), error.message)
        )
        return replace(error, status=status, code=code, message=message, shape="azure")
    if flavour == "anthropic":
        otherwise = _ANTHROPIC_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
        named = _ANTHROPIC.get(error.code or "", (error.status, otherwise, error.message))
        model = _MODEL.search(error.message)
        message = named[2].replace("{model}", model[1] if model else "")
        headers = _MILLISECONDS.sub("", error.headers)
        return replace(
            error, status=named[0], type=named[1], code=None, message=message, headers=headers, shape="anthropic"
        )
    return error


def limit_headers(standings: Iterable[Standing], flavour: Flavour, wall_s: float) -> str:
    """How a provider tells what is left. `wall_s` is the time since the epoch, since Anthropic names times of day.

    No provider documents headers for limits of images, so there are none.
    """
    standings = [one for one in standings if one.limit.of != "images"]
    if flavour != "anthropic":
        return rate_limit_headers(standings)
    return "".join(
        f"anthropic-ratelimit-{one.limit.of}-limit: {one.limit.amount}\r\n"
        f"anthropic-ratelimit-{one.limit.of}-remaining: {one.remaining}\r\n"
        f"anthropic-ratelimit-{one.limit.of}-reset: {_time_text(wall_s + one.reset_ns / _NS_PER_S)}\r\n"
        for one in standings
    )


def not_of_this_provider(path: str, flavour: Flavour) -> bool:
    """Whether a path is one that this kind of provider doesn't have: Azure's all begin with `/openai/`."""
    return path.startswith("/openai/") != (flavour == "azure")


def _time_text(moment_s: float) -> str:
    """RFC 3339, rounded up to whole seconds, as Anthropic has it."""
    return datetime.fromtimestamp(-(-moment_s // 1), tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
