"""What a provider's answer to a question about a key means, in words."""

from __future__ import annotations

from keyfleet_workers.probing import still_holds
from keyfleet_workers.provider import Verdict, VerdictKind

__all__ = ["in_words", "provider_words", "works"]

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
    return not still_holds(verdict)


def in_words(verdict: Verdict) -> str:
    """What came back, with the provider's words unless all is well."""
    words = _WORDS.get(verdict.kind, "is answered, though not with a list of models")
    if verdict.kind is VerdictKind.SUCCESS:
        return words
    return f"{words} ({provider_words(verdict).removeprefix(f'{verdict.kind.value}: ')})"


def provider_words(verdict: Verdict) -> str:
    """The provider's code and message on one line."""
    return " ".join(f"{verdict.code}: {verdict.message}".split())[:MOST_CHARACTERS].rstrip(": ")
