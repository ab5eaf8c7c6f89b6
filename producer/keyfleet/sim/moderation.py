"""Answers of the moderations endpoint: one result for each input."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

__all__ = ["FLAGGED_WORD", "moderation_results"]

FLAGGED_WORD = "violence"
"""A text with this word in it is flagged."""

_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def moderation_results(prompts: tuple[str, ...]) -> list[dict[str, Any]]:
    """A result for each text; scores depend on the text alone, so that a test can match the two."""
    return [_result(prompt) for prompt in prompts]


def _result(text: str) -> dict[str, Any]:
    flagged = FLAGGED_WORD in text
    digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
    scores = {name: round(byte / 2550, 6) for name, byte in zip(_CATEGORIES, digest, strict=False)}
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == "violence" for name in _CATEGORIES},
        "category_scores": scores | ({"violence": 0.99} if flagged else {}),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
