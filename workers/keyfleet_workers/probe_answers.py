"""What a provider's answer to a question about a key means, in words."""

from __future__ import annotations

from keyfleet_workers.holds import Holds, KeyScopes, KeyState
from keyfleet_workers.probing import lifts
from keyfleet_workers.provider import Verdict, VerdictKind

__all__ = ["conclude", "in_words", "pays", "provider_words", "works"]

MOST_CHARACTERS = 200
"""Longest part of a provider's words that is shown."""

_WORDS = {
    VerdictKind.SUCCESS: "works",
    VerdictKind.RATE_LIMITED: "works, and is at a limit now",
    VerdictKind.REVOKED: "is refused",
    VerdictKind.OUT_OF_CREDIT: "is out of credit",
    VerdictKind.UNREACHABLE: "can't reach its provider",
    VerdictKind.TIMED_OUT: "gets no answer in time",
    VerdictKind.RETRYABLE: "gets an error of its provider",
}


def works(verdict: Verdict) -> bool:
    """Whether the provider takes the key. A server that has no list of models has taken it as well."""
    return lifts(KeyState.REVOKED, verdict)


def pays(verdict: Verdict) -> bool:
    """Whether a call that has to be paid was let through, or would have been but for a limit."""
    return lifts(KeyState.OUT_OF_CREDIT, verdict)


def conclude(holds: Holds, scopes: KeyScopes, verdict: Verdict) -> None:
    """Set and lift what the free call tells of: not of credit. Raises redis.RedisError."""
    if verdict.kind is VerdictKind.REVOKED:
        holds.set(scopes.refused, KeyState.REVOKED, provider_words(verdict), None)
    elif works(verdict):
        holds.lift(scopes.way, scopes.failing)
        if not holds.has_relapsed(scopes.refused):
            holds.lift_after_probe(*holds.read([scopes.refused]))


def in_words(verdict: Verdict, *, model: str | None = None) -> str:
    """What came back, with the provider's words unless all is well; from `model`, or from the list of models."""
    answered = "not with a list of models" if model is None else f"{model} can't be called so"
    words = _WORDS.get(verdict.kind, f"is answered, though {answered}")
    if verdict.kind is VerdictKind.SUCCESS:
        return words
    return f"{words} ({provider_words(verdict).removeprefix(f'{verdict.kind.value}: ')})"


def provider_words(verdict: Verdict) -> str:
    """The provider's code and message on one line."""
    return " ".join(f"{verdict.code}: {verdict.message}".split())[:MOST_CHARACTERS].rstrip(": ")
