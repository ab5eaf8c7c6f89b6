"""What an image costs as input, by the rules that its model's provider publishes.

OpenAI: "Images and vision", section "Calculating costs" (https://platform.openai.com/docs/guides/images-vision,
also https://developers.openai.com/api/docs/guides/images-vision). Anthropic: "Vision"
(https://platform.claude.com/docs/en/build-with-claude/vision). The families are matched in order, the first that fits.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["PatchRule", "TileRule", "image_tokens", "rule_for"]


@dataclass(frozen=True, slots=True)
class TileRule:
    """Tiles of 512 px: `base_tokens`, plus `tile_tokens` for each; low detail costs the base alone.

    The image is first scaled down to fit 2048 x 2048 px, then until its shorter side is at most 768 px.
    """

    base_tokens: int
    tile_tokens: int

    def tokens(self, detail: str, width: int, height: int) -> int:
        if detail == "low":
            return self.base_tokens
        long, short = max(width, height), min(width, height)
        scale = min(Fraction(1), Fraction(2048, long), Fraction(768, short))
        tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
        return self.base_tokens + tiles * self.tile_tokens

    def worst_tokens(self, detail: str) -> int:
        """Of an image whose size isn't known: 2048 x 768 px is eight tiles."""
        return self.tokens(detail, 2048, 768)


@dataclass(frozen=True, slots=True)
class PatchRule:
    """Patches of `patch_px`, at most `budget_patches` (to which an image is scaled down), times `multiplier`.

    Detail is ignored, but for `original` (and `auto`, where `auto_is_original`), which has a budget of its own.
    """

    multiplier: float
    budget_patches: int = 1536
    original_budget_patches: int | None = None
    auto_is_original: bool = False
    patch_px: int = 32

    def _budget(self, detail: str) -> int:
        is_original = detail == "original" or (detail == "auto" and self.auto_is_original)
        return self.original_budget_patches or self.budget_patches if is_original else self.budget_patches

    def tokens(self, detail: str, width: int, height: int) -> int:
        patches = self._patches(width, height, self._budget(detail))
        return math.ceil(round(patches * self.multiplier, 6))

    def worst_tokens(self, detail: str) -> int:
        """Of an image whose size isn't known: the whole budget."""
        return math.ceil(round(self._budget(detail) * self.multiplier, 6))

    def _patches(self, width: int, height: int, budget: int) -> int:
        """The guide's example: 1800 x 2400 px shrinks by 0.603, then on to 33 whole patches across: 33 x 44 = 1452."""
        side = self.patch_px
        patches = math.ceil(width / side) * math.ceil(height / side)
        if patches <= budget:
            return patches
        shrink = math.sqrt(side * side * budget / (width * height))
        across, down = width * shrink / side, height * shrink / side
        if across < 1 or down < 1:
            return budget
        shrink *= min(math.floor(across) / across, math.floor(down) / down)
        return min(budget, math.ceil(round(width * shrink / side, 6)) * math.ceil(round(height * shrink / side, 6)))


_FAMILIES: tuple[tuple[re.Pattern[str], TileRule | PatchRule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"gpt-4o-mini", TileRule(2833, 5667)),
        (r"gpt-4\.1-mini", PatchRule(1.62)),
        (r"gpt-4\.1-nano", PatchRule(2.46)),
        (r"o4-mini", PatchRule(1.72)),
        (r"gpt-[5-9][\d.]*-(?:\w+-)?mini", PatchRule(1.62)),
        (r"gpt-[5-9][\d.]*-nano", PatchRule(2.46)),
        (r"gpt-5(?:\.1)?(?![\d.])", TileRule(70, 140)),
        (r"gpt-5\.[23]", PatchRule(1.2)),
        (r"gpt-5\.4", PatchRule(1.2, 2_500, original_budget_patches=10_000)),
        (r"gpt-5\.5", PatchRule(1.2, 2_500, original_budget_patches=10_000, auto_is_original=True)),
        (r"gpt-[5-9]", PatchRule(1.2, 2_500, original_budget_patches=30_000, auto_is_original=True)),
        (r"o1|o3", TileRule(75, 150)),
        (r"computer-use", TileRule(65, 129)),
        (r"claude", PatchRule(1.0, 4_784, patch_px=28)),
        (r"", TileRule(85, 170)),  # GPT-4o, 4.1, 4.5, 4 Turbo; and models whose rule isn't known
    )
)


def rule_for(model: str) -> TileRule | PatchRule:
    """The rule of a model's family; a prefix (`openai/`, `ft:`) is passed over."""
    name = model.rsplit("/", 1)[-1].removeprefix("ft:").removeprefix("chat")
    return next(rule for pattern, rule in _FAMILIES if pattern.match(name))


def image_tokens(model: str, detail: str | None, width: int | None, height: int | None) -> int:
    """Input tokens of an image of width x height px; the worst case of `model` where the size isn't known.

    `detail` is `low`, `high`, `auto` (also None and anything else) or `original`. Published examples: 1024 x 1024 px
    at high detail costs gpt-4o 765 and 2048 x 4096 px 1105; 1024 x 1024 px costs gpt-4.1-mini 1659.
    """
    rule = rule_for(model)
    known = detail if detail in ("low", "high", "original") else "auto"
    if not width or not height or width < 0 or height < 0:
        return rule.worst_tokens(known)
    return rule.tokens(known, width, height)
