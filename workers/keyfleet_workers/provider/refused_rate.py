"""Refusals for rate or money: a busy minute, a day that is used up, a request that can never fit, an empty account."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from keyfleet.config import Provider
from keyfleet_workers.provider.dialects import QUOTA_CODES
from keyfleet_workers.provider.error_body import ErrorBody
from keyfleet_workers.provider.said_limit import DAY_S, said_limit, speaks_of_a_day, speaks_of_a_minute
from keyfleet_workers.provider.verdict import (
    DAY_LIMIT_REST_MS,
    DEFAULT_COOLDOWN_MS,
    UNUSABLE_REST_MS,
    SaidLimit,
    Verdict,
    VerdictKind,
)

__all__ = ["Refusal", "payment_verdict", "rate_verdict", "volume_verdict"]

LONGEST_BUSY_MS = 600_000
"""A refusal that asks to wait for no longer than this is a busy minute, whatever it says of quotas and plans (ms)."""

AZURE_NEVER_MS = DAY_S * 1000
"""What Azure asks to wait for where a request needs more tokens than its deployment has per minute (ms)."""

TOO_DEAR = "weight_exceeds_budget"
"""OpenRouter's reason for a single request that would cost more than the whole budget."""

KEY_LIMIT = '"key_limit"'
"""OpenRouter's reason where it is the key's own budget that is spent."""

_SLOW_DOWN = re.compile(r"\bslow[ _]down\b|usage increase rate|acceleration limit", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+")
_VOLUME = re.compile(r"out of call volume quota", re.IGNORECASE)
_MONEY = re.compile(
    r"billing|credits?\b|balance|recharge|top[ -]?up|prepaid|payment|arrears|good standing|suspended|余额|充值|欠费",
    re.IGNORECASE,
)
_RATE = re.compile(r"rate[ _-]?limit|too many requests|throttl|\b[rti]pm\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer by which a provider refuses for now, or for good."""

    provider: Provider
    status: int
    error: ErrorBody
    wait_ms: int | None
    document: Any = field(repr=False)


def payment_verdict(refusal: Refusal) -> Verdict:
    """The meaning of 402: the account is empty, save where a short wait is asked for.

    OpenRouter answers 402 with `retry-after` while what is under way fills the budget, and for a request that alone
    exceeds it (https://openrouter.ai/docs/api/reference/errors-and-debugging).
    """
    if TOO_DEAR in refusal.error.text:
        return _verdict(refusal, VerdictKind.TOO_LARGE, "too_large", None)
    if refusal.wait_ms is not None and refusal.wait_ms <= LONGEST_BUSY_MS:
        return _rate_limited(refusal, None)
    return replace(_out_of_credit(refusal), is_own_budget=KEY_LIMIT in refusal.error.text)


def volume_verdict(refusal: Refusal) -> Verdict | None:
    """The meaning of a 403 of Azure's API Management, whose subscriptions have a number of calls per day or month.

    It says when they are replenished (https://learn.microsoft.com/azure/api-management/quota-policy): a long rest.
    Where it doesn't, the subscription is as good as out of credit. None for any other 403.
    """
    if _VOLUME.search(refusal.error.message) is None:
        return None
    if refusal.wait_ms is None:
        return replace(_out_of_credit(refusal), is_own_budget=True)
    return replace(_rate_limited(refusal, None), is_day_limit=True)


def rate_verdict(refusal: Refusal) -> Verdict | None:
    """The meaning of 429, of 503 `slow_down`, and of a 413 that names a limit (Groq); None for any other 413."""
    said = said_limit(refusal.error.message)
    if said is not None and said.amount == 0:
        return _verdict(refusal, VerdictKind.MODEL_LOST, "no_allowance", None)
    if said is not None and said.requested is not None and said.requested > said.amount:
        return _verdict(refusal, VerdictKind.TOO_LARGE, "too_large", None, said)
    if refusal.status == 413:
        return None
    if _is_azures_never(refusal):
        return _verdict(refusal, VerdictKind.TOO_LARGE, "too_large", None)
    if refusal.provider == "compatible" and _is_about_money(refusal):
        return _out_of_credit(refusal)
    return _rate_limited(refusal, said)


def _is_azures_never(refusal: Refusal) -> bool:
    is_long = refusal.wait_ms is not None and refusal.wait_ms >= AZURE_NEVER_MS
    return refusal.provider == "azure" and is_long and "token rate limit" in refusal.error.message


def _is_about_money(refusal: Refusal) -> bool:
    """Whether a compatible server's 429 means an empty account.

    Not where it asks for a wait of minutes at most, or names a limit of a minute or a day: Gemini and Groq speak of
    plans and billing to those who are merely fast. Else where it speaks of money, or bears OpenAI's code for an empty
    account: were that a busy minute after all, a probe would find out, while an account that is empty and taken for
    busy would be asked again and again.
    """
    error = refusal.error
    if refusal.wait_ms is not None and refusal.wait_ms <= LONGEST_BUSY_MS:
        return False
    words = _ADDRESS.sub("", error.message)
    if speaks_of_a_minute(words) or speaks_of_a_day(words) or "rate_limit_exceeded" in error.names:
        return False
    if error.names & QUOTA_CODES:
        return True
    return _MONEY.search(words) is not None and _RATE.search(words) is None


def _rate_limited(refusal: Refusal, said: SaidLimit | None) -> Verdict:
    error = refusal.error
    words = _ADDRESS.sub("", error.text)
    is_day_limit = said.window_s >= DAY_S if said else speaks_of_a_day(words)
    is_only_of_a_day = is_day_limit and (said is not None or not speaks_of_a_minute(words))
    return Verdict(
        VerdictKind.RATE_LIMITED,
        error.code_or("rate_limited"),
        error.message,
        # a wait of 0 gives none, as for OpenAI's official client
        refusal.wait_ms or (DAY_LIMIT_REST_MS if is_only_of_a_day else DEFAULT_COOLDOWN_MS),
        refusal.document,
        slow_down="slow_down" in error.names or _SLOW_DOWN.search(error.message) is not None,
        is_day_limit=is_day_limit,
        limit=said,
    )


def _out_of_credit(refusal: Refusal) -> Verdict:
    return _verdict(refusal, VerdictKind.OUT_OF_CREDIT, "out_of_credit", UNUSABLE_REST_MS)


def _verdict(
    refusal: Refusal, kind: VerdictKind, code: str, wait_ms: int | None, said: SaidLimit | None = None
) -> Verdict:
    return Verdict(kind, refusal.error.code_or(code), refusal.error.message, wait_ms, refusal.document, limit=said)
