"""The usage that answers report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["tokens_used"]

_CACHE_READS_COUNT = re.compile(r"\bclaude-3-(?!7)")
"""Anthropic's older models, for whose limits what is read from the cache counts as well."""


def tokens_used(document: Any) -> int | None:
    """How many tokens an answer reports that count for limits; None where it reports none.

    `usage.total_tokens` in OpenAI's answers, of whatever endpoint. Anthropic's own have `input_tokens`,
    `cache_creation_input_tokens` and `output_tokens`, which count, and `cache_read_input_tokens`, which count for
    older models alone (https://platform.claude.com/docs/en/api/rate-limits). Some compatible servers leave the total
    out.
    """
    usage = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(usage, dict):
        return None
    total = _count(usage, "total_tokens")
    if total is not None:
        return total
    for read, written in (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens")):
        parts = [_count(usage, read), _count(usage, written)]
        if parts != [None, None]:
            return sum(part or 0 for part in parts) + _of_cache(usage, document.get("model"))
    return None


def _of_cache(usage: Mapping[str, Any], model: object) -> int:
    tokens = _count(usage, "cache_creation_input_tokens") or 0
    if isinstance(model, str) and _CACHE_READS_COUNT.search(model):
        tokens += _count(usage, "cache_read_input_tokens") or 0
    return tokens


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
