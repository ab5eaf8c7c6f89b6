"""What the errors of each kind of provider are called, where their names tell more than their status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from keyfleet.config import Provider
from keyfleet_workers.provider.error_body import ErrorBody
from keyfleet_workers.provider.verdict import VerdictKind

__all__ = ["DIALECTS", "QUOTA_CODES", "Dialect", "Meaning", "Saying"]

_OUT, _REVOKED = VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED
_LOST, _UNREACHABLE, _FINAL = VerdictKind.MODEL_LOST, VerdictKind.UNREACHABLE, VerdictKind.FINAL

QUOTA_CODES = frozenset({"insufficient_quota", "quota_exceeded"})
"""What OpenAI calls an empty account, and what others also call a busy minute."""

OWN_BUDGETS = frozenset({"project_spend_limit_exceeded", "budget_exceeded"})
"""Names of what a key's own project has spent, while other keys of the account go on."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error tells. `is_own_budget`: the money that is spent is the key's own, not the whole account's."""

    kind: VerdictKind
    is_own_budget: bool = False


@dataclass(frozen=True, slots=True)
class Saying:
    """A message that means something where it comes with one of `statuses`: many errors have no code of their own."""

    statuses: frozenset[int]
    pattern: re.Pattern[str]
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class Dialect:
    """Codes and types (servers mix them up), and sayings, of the answers 400 to 499 of one kind of provider."""

    names: Mapping[str, VerdictKind]
    sayings: tuple[Saying, ...]

    def meaning(self, status: int, error: ErrorBody) -> Meaning | None:
        """What an error's message or else its name tells; None where neither says more than the status.

        The message first: names such as `permission_error` leave open whether a model or the whole account is meant.
        """
        if not 400 <= status < 500:
            return None
        for saying in self.sayings:
            if status in saying.statuses and saying.pattern.search(error.message):
                return saying.meaning
        name = next((name for name in (error.detail, error.code, error.kind) if name in self.names), None)
        return None if name is None else Meaning(self.names[name], name in OWN_BUDGETS)


def _say(statuses: set[int], pattern: str, kind: VerdictKind, *, is_own_budget: bool = False) -> Saying:
    return Saying(frozenset(statuses), re.compile(pattern, re.IGNORECASE), Meaning(kind, is_own_budget))


def _all(kind: VerdictKind, *names: str) -> dict[str, VerdictKind]:
    return dict.fromkeys(names, kind)


_NO_MODEL = _say(
    {400, 403, 404, 410},
    r"\bmodel\b.{0,120}?\b(?:does not exist|not exist\b|not found|no longer (?:available|supported)|decommissioned)"
    r"|does not have access to (?:the )?model|not authorized to access model|not have access to it\b|unknown model"
    r"|not a valid model id|not found the model|\bmodels/\S+ is not found|no endpoints found for|^invalid model\b"
    r"|\binvalid model (?:name|id)\b",
    _LOST,
)
_NOT_ABOUT_CONTENT = (
    r"^(?!.*(?:flagged|moderat|violat|safety|harmful|inappropriate|guideline|(?:content|usage|use)\W{1,3}polic))"
)
"""A prompt that is not allowed is the request's own fault, whichever model objects to it."""
_NO_ACCESS = _say(
    {403},
    _NOT_ABOUT_CONTENT + r".*(?:\bmodels?\b.{0,80}?\b(?:not|isn't|no longer)\b.{0,20}?"
    r"\b(?:allowed|available|permitted|enabled|accessible|authorized)\b"
    r"|(?:\bnot|n't|\bno)\b.{0,20}?\b(?:allowed|access|permission|permitted|authorized)\b.{0,60}?\bmodels?\b"
    r"|\baccess\b.{0,40}?\bmodels?\b.{0,60}?\b(?:denied|forbidden|restricted)\b)",
    _LOST,
)
_TOKEN_WITHOUT_MODEL = _say({401}, r"not allowed to (?:access|use|call) (?:the |this )?model\b", _LOST)
"""LiteLLM until 2025 (https://github.com/BerriAI/litellm/issues/8688)."""
_DEACTIVATED = _say(
    {401, 403},
    r"\b(?:account|organization|workspace|key)\b[\w ,]{0,60}?\b(?:has been|have been|is|was) (?:\w+ly )?"
    r"(?:deactivated|disabled|terminated|banned|revoked|deleted)\b"
    r"|\b(?:deactivated|disabled|terminated|banned) (?:account|organization|workspace)\b",
    _REVOKED,
)
_NO_SCOPE = _say({401, 403}, r"insufficient permissions|missing scopes?", _LOST)
_ADDRESS_REFUSED = _say(
    {401, 403},
    r"\bip\b[^.]{0,60}(?:not (?:authorized|allowed)|allow ?list|whitelist)|check your network settings",
    _UNREACHABLE,
)
_REGION_REFUSED = _say(
    {400, 403},
    r"(?:country|region|location)[^.]{0,60} (?:is )?not supported|unsupported (?:country|region|location)"
    r"|not (?:available|supported|allowed) in your (?:country|region|location|territory)",
    _UNREACHABLE,
)
# LiteLLM, which stands before providers of any kind: https://docs.litellm.ai/docs/proxy/model_access, .../proxy/users,
# https://github.com/BerriAI/litellm/issues/14144, /4208, /18731
_SPENT = _say(
    {400, 403, 429}, r"\bbudget has been exceeded|\bexceeded ?budget\b|\bcrossed budget\b", _OUT, is_own_budget=True
)
_GATEWAY_NAMES = {
    **_all(_OUT, "budget_exceeded"),
    **_all(_REVOKED, "expired_key", "token_not_found_in_db"),
    **_all(_LOST, *(f"{owner}_model_access_denied" for owner in ("key", "team", "user", "org", "project"))),
}
_ANYWHERE = (_ADDRESS_REFUSED, _REGION_REFUSED, _SPENT, _NO_MODEL, _DEACTIVATED, _NO_ACCESS, _TOKEN_WITHOUT_MODEL)

# https://help.openai.com/en/articles/6891839-api-error-codes, /6614457-troubleshooting-api-usage-and-spend-limits
_OPENAI_NAMES = {
    **_all(
        _OUT,
        "insufficient_quota",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_not_active",
    ),
    **_all(_REVOKED, "invalid_api_key", "account_deactivated", "access_terminated", "invalid_organization"),
    **_all(_LOST, "model_not_found"),
    **_all(_UNREACHABLE, "unsupported_country_region_territory", "unsupported_country", "ip_not_authorized"),
    **_GATEWAY_NAMES,
}
_OPENAI = Dialect(_OPENAI_NAMES, (_NO_SCOPE, *_ANYWHERE))

# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/network; the rest as its service answers
_AZURE = Dialect(
    {**_OPENAI_NAMES, **_all(_LOST, "DeploymentNotFound", "ModelNotFound", "unknown_model", "ModelDeprecated")},
    (
        _say({403}, r"virtual network|firewall|private endpoint|public (?:network )?access", _UNREACHABLE),
        _say({410}, r"model|deployment", _LOST),
        *_ANYWHERE,
    ),
)

# https://docs.claude.com/en/api/errors. The OpenAI-compatible endpoint puts the type into `code`, and
# `invalid_request_error` into every `type`; so that one may mean nothing here.
# A 429 without `retry-after` may be the tier's monthly cap: https://platform.claude.com/docs/en/api/rate-limits
_ANTHROPIC_NAMES = {
    **_all(_OUT, "billing_error", "enforced_spend_limit_reached"),
    **_all(_REVOKED, "authentication_error"),
    **_all(_LOST, "permission_error"),
}
_ANTHROPIC_SAYINGS = (
    _say({400, 403, 429}, r"reached your specified workspace (?:\w+ ){0,3}usage limits?", _OUT, is_own_budget=True),
    _say({400, 403, 429}, r"credit balance is too low|reached your specified (?:\w+ ){0,3}usage limits?", _OUT),
    _say({400, 401, 403}, r"organization has been (?:disabled|deactivated)", _REVOKED),
    _say({403}, r"^request not allowed", _UNREACHABLE),
    _say({404}, r"^model:", _LOST),
)
_ANTHROPIC = Dialect({**_ANTHROPIC_NAMES, **_GATEWAY_NAMES}, (*_ANTHROPIC_SAYINGS, *_ANYWHERE))

_COMPATIBLE = Dialect(
    {
        **{name: kind for name, kind in _OPENAI_NAMES.items() if name not in QUOTA_CODES},
        **_ANTHROPIC_NAMES,
        # Moonshot, new-api, DashScope
        **_all(_OUT, "exceeded_current_quota_error", "insufficient_user_quota", "insufficient_balance", "Arrearage"),
        **_all(_REVOKED, "organization_restricted", "invalid_authentication_error"),  # Groq, Moonshot
        # Groq, Together, Azure AI, Mistral
        **_all(_LOST, "model_decommissioned", "model_terms_required", "model_not_available", "unknown_model"),
        **_all(_LOST, "invalid_model"),
        **_all(_LOST, "PERMISSION_DENIED"),  # Gemini
    },
    (
        *_ANTHROPIC_SAYINGS,
        _NO_SCOPE,
        _say(
            {400, 401, 403}, r"api[ _-]?key (?:is |was )?(?:not valid|invalid|expired|reported as leaked)", _REVOKED
        ),  # Gemini
        _say({429}, r"\blimit: 0\b", _LOST),  # Gemini, of models that a tier doesn't have
        # OpenRouter: https://openrouter.ai/docs/guides/features/workspaces/workspace-budgets
        _say({403}, r"\bkey limit exceeded|\bworkspace \w+ budget of \S+ exceeded", _OUT, is_own_budget=True),
        _say(
            {403},
            r"usage limit for this billing|budget limit exceeded|spending limit|out of credits|have any credits",
            _OUT,
        ),
        *_ANYWHERE,
    ),
)

DIALECTS: Mapping[Provider, Dialect] = {
    "openai": _OPENAI,
    "azure": _AZURE,
    "anthropic": _ANTHROPIC,
    "compatible": _COMPATIBLE,
}
