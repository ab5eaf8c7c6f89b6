"""Output tokens of an image that a model makes.

OpenAI's table of the GPT Image models before gpt-image-2 (https://developers.openai.com/api/docs/guides/image-generation,
"Cost and latency"); an image that is streamed in parts costs 100 more for each part ("Partial images cost"). DALL·E has
no output tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["made_image_tokens"]

PARTIAL_IMAGE_TOKENS = 100

MOST_PARTIAL_IMAGES = 3
"""Most that OpenAI takes as `partial_images`; of more than that the request is refused."""

_TOKENS: Mapping[str, Mapping[str, int]] = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}

_PAID_BY_TOKENS = re.compile(r"gpt-image|chatgpt-image")


def made_image_tokens(model: str, body: Mapping[str, Any]) -> int:
    """Output tokens of each image that `body` asks of `model`; 0 for models that are not known to have any.

    Where the quality or the size is left to the model, or not in the table, the dearest counts. Known weakness: of
    gpt-image-2 and later no numbers are published, so the same is reserved; what answers report corrects that, as it
    does for models of other makers and Azure's deployments under names of their own.
    """
    if not _PAID_BY_TOKENS.search(model):
        return 0
    by_size = _TOKENS.get(_word(body.get("quality")), _TOKENS["high"])
    tokens = by_size.get(_word(body.get("size")), max(by_size.values()))
    partial = body.get("partial_images")
    if isinstance(partial, int) and partial > 0:
        tokens += PARTIAL_IMAGE_TOKENS * min(partial, MOST_PARTIAL_IMAGES)
    return tokens


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""
