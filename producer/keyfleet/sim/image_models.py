"""How models that draw differ: DALL-E, GPT Image, and those of other makers."""

from __future__ import annotations

__all__ = ["gives_address", "is_dall_e", "tokens_of_an_image"]

_TOKENS = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}
"""Of gpt-image-1, by quality and size (https://platform.openai.com/docs/guides/image-generation)."""


def is_dall_e(model: str) -> bool:
    """Whether this is a DALL-E; those know no tokens, and have their own words for a limit."""
    return model.startswith("dall-e")


def gives_address(model: str, response_format: object) -> bool:
    """Whether an image is answered by its address: DALL-E does unless told otherwise, GPT Image never."""
    if model.startswith("gpt-image"):
        return False
    return response_format == "url" or (response_format is None and is_dall_e(model))


def tokens_of_an_image(model: str, quality: object, size: object) -> int:
    """Output tokens of one image. What isn't known or is left open counts as medium, and as a square."""
    if is_dall_e(model):
        return 0
    sizes = _TOKENS.get(str(quality), _TOKENS["medium"])
    return sizes.get(str(size), sizes["1024x1024"])
