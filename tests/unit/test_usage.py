"""The usage that answers report, which corrects what was reserved for them."""

from __future__ import annotations

from typing import Any

import pytest

from keyfleet_workers.dispatch.usage import tokens_used

ANTHROPIC = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188,
    "cache_read_input_tokens": 1000,
    "output_tokens": 393,
}


@pytest.mark.parametrize(
    ("document", "expected_tokens"),
    [
        # https://platform.openai.com/docs/api-reference/chat/object, .../embeddings/create, .../responses/object
        ({"usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}}, 29),
        ({"usage": {"prompt_tokens": 8, "total_tokens": 8}}, 8),
        (
            {
                "usage": {
                    "input_tokens": 36,
                    "input_tokens_details": {"cached_tokens": 30},
                    "output_tokens": 87,
                    "total_tokens": 123,
                }
            },
            123,
        ),
        # https://platform.claude.com/docs/en/api/messages, .../api/rate-limits: what is read from the cache counts for
        # older models alone
        ({"model": "claude-sonnet-4-5", "usage": {"input_tokens": 12, "output_tokens": 6}}, 18),
        ({"model": "claude-sonnet-4-5-20250929", "usage": ANTHROPIC}, 21 + 188 + 393),
        ({"model": "claude-3-7-sonnet-20250219", "usage": ANTHROPIC}, 21 + 188 + 393),
        ({"model": "claude-3-5-haiku-20241022", "usage": ANTHROPIC}, 21 + 188 + 393 + 1000),
        ({"usage": ANTHROPIC}, 21 + 188 + 393),
        # Compatible servers that leave the total out
        ({"usage": {"prompt_tokens": 4, "completion_tokens": 5}}, 9),
        ({"usage": {"prompt_tokens": 4}}, 4),
        # Nothing that could be used
        ({"usage": {"total_tokens": -1}}, None),
        ({"usage": {"total_tokens": True, "input_tokens": "7"}}, None),
        ({"usage": {"total_tokens": 12.5}}, None),
        ({"usage": {}}, None),
        ({"usage": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_tokens_that_count_for_limits_are_read(document: Any, expected_tokens: int | None) -> None:
    assert tokens_used(document) == expected_tokens
