"""Which requests may share a call: those whose bodies differ in one text only, at endpoints that take a list of texts.

Where a limit of requests, not of tokens, is what holds a key back, sharing calls multiplies what gets through (OpenAI's
cookbook, `How_to_handle_rate_limits`, "Batching requests").
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

__all__ = ["MOST_INPUTS", "Packing", "Shareable", "choices_of", "shareable"]

MOST_INPUTS = 2048
"""Most inputs of one embeddings call (OpenAI's API reference, `input`: "any array must be 2048 dimensions or less")."""

MOST_COMPLETIONS = 20
"""Most completions of one call (OpenAI's help centre, article 6891753: "The prompt parameter can hold up to 20 unique
prompts"; more end with "Too many parallel completions requested")."""

DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Shareable:
    """An endpoint whose calls may be shared: `field` takes a list of inputs, `answers` lists what came of them."""

    field: str
    answers: str
    most: int


_EMBEDDINGS = Shareable("input", "data", MOST_INPUTS)
_COMPLETIONS = Shareable("prompt", "choices", MOST_COMPLETIONS)


def shareable(endpoint: str) -> Shareable | None:
    """How calls of an endpoint (its path, Azure's deployment paths too) are shared; None where they are not."""
    path = endpoint.partition("?")[0].rstrip("/")
    if path.endswith("/embeddings"):
        return _EMBEDDINGS
    if path.endswith("/completions") and not path.endswith("/chat/completions"):
        return _COMPLETIONS
    return None


def choices_of(kind: Shareable, body: dict[str, Any]) -> int:
    """How many answers one input of `body` has."""
    number = body.get("n") if kind is _COMPLETIONS else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 1


@dataclass(frozen=True, slots=True)
class Packing:
    """How the requests of one job share calls: up to `most_inputs` each (of completions at most 20)."""

    job_id: str
    most_inputs: int = MOST_INPUTS

    def name(self, endpoint: str, body: dict[str, Any]) -> str:
        """`contract.Request.pack` of a request: a digest of all that it must have in common with others, and how many
        may share a call. Empty for one that is sent alone."""
        kind = shareable(endpoint)
        form = _form(body.get(kind.field)) if kind else None
        if kind is None or form is None:
            return ""
        most = min(self.most_inputs, kind.most // (choices_of(kind, body) * _tried(kind, body)))
        if most < 2:
            return ""
        common = {name: value for name, value in body.items() if name != kind.field}
        try:
            text = json.dumps([self.job_id, endpoint, form, common], sort_keys=True, allow_nan=False)
        except (ValueError, RecursionError):  # a number that Python doesn't hold exactly, or what is too deep
            return ""
        return f"{blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()}:{most}"


def _form(value: Any) -> str | None:
    """Whether an input is one text or one list of tokens, which must not stand in one list; None for neither."""
    if isinstance(value, str):
        return "text"
    is_tokens = isinstance(value, list) and bool(value) and all(type(item) is int for item in value)
    return "tokens" if is_tokens else None


def _tried(kind: Shareable, body: dict[str, Any]) -> int:
    """How many completions are made of each that is answered."""
    tried = body.get("best_of")
    if kind is not _COMPLETIONS or not isinstance(tried, int) or isinstance(tried, bool):
        return 1
    return max(1, -(-tried // choices_of(kind, body)))
