"""The cost of a request: in tokens its prompt and all the output that it allows, and the images that it makes.

OpenAI admits a request by the larger of an estimate of its tokens and its allowed output; the sum of both is on the
safe side of that. What a request really took is settled when its answer tells.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from keyfleet.tokens.content import ContentCounter
from keyfleet.tokens.counting import TextCounter
from keyfleet.tokens.made_images import made_image_tokens
from keyfleet.tokens.prompts import PROMPT_COUNTERS, json_tokens, prompts_of

__all__ = [
    "ASSUMED_OUTPUT_TOKENS",
    "COMPLETION_DEFAULT_TOKENS",
    "MAX_COST_TOKENS",
    "count_request_images",
    "count_request_tokens",
]

ASSUMED_OUTPUT_TOKENS = 256
"""Output reserved where a request names no maximum: about an ordinary answer. A model's real maximum (16,000 and more)
would let no request into a small limit; what an answer takes beyond this is charged when it is settled."""

COMPLETION_DEFAULT_TOKENS = 16
"""`max_tokens` of /v1/completions where none is given (OpenAI's API reference)."""

MAX_COST_TOKENS = 2**53 - 1
"""No cost is larger: the largest whole number that JSON and Lua hold exactly."""

_MAKES_IMAGES = "images/generations"
_WITHOUT_OUTPUT = frozenset({"embeddings", "moderations"})
_MAXIMA = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@lru_cache(maxsize=256)
def _kind_of(endpoint: str) -> str:
    """The known endpoint that a path or full URL ends in, `` if none: /openai/deployments/x/chat/completions too."""
    try:
        path = urlsplit(endpoint).path.rstrip("/").lower()
    except ValueError:  # validated elsewhere
        path = endpoint.lower()
    return next((kind for kind in PROMPT_COUNTERS if ("/" + path).endswith("/" + kind)), "")


def _whole_number(value: Any) -> int | None:
    """A count as JSON may give it, None where it is no number, negative or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return min(int(value), MAX_COST_TOKENS) if value >= 0 else None


def _choices(body: dict[str, Any], *names: str) -> int:
    return max(1, *(_whole_number(body.get(name)) or 1 for name in names))


def _output_tokens(kind: str, body: dict[str, Any], model: str, assumed_output_tokens: int) -> int:
    """All that may be answered. Where several maxima contradict each other, the largest counts."""
    if kind in _WITHOUT_OUTPUT:
        return 0
    if kind == _MAKES_IMAGES:
        return made_image_tokens(model, body) * _choices(body, "n")
    given = [number for name in _MAXIMA if (number := _whole_number(body.get(name))) is not None]
    if kind == "completions":
        each = max(given, default=COMPLETION_DEFAULT_TOKENS)
        return each * _choices(body, "n", "best_of") * len(prompts_of(body.get("prompt")))
    if kind == "" and not given and "messages" not in body:
        return 0
    return max(given, default=assumed_output_tokens) * _choices(body, "n")


def count_request_tokens(
    endpoint: str,
    body: dict[str, Any],
    *,
    counter: TextCounter,
    assumed_output_tokens: int = ASSUMED_OUTPUT_TOKENS,
) -> int:
    """Tokens of the prompt plus those of the allowed output, from 1 to `MAX_COST_TOKENS`; never raises.

    `endpoint` is a path or URL whose end tells the form of `body`: completions, chat/completions, embeddings,
    responses, moderations, images/generations, or Anthropic's messages. For any other, the prompt is the body's JSON
    text and the output what the body allows by name. Text is counted by `counter`; images by the rule of the body's
    `model`, else of the counter's. Work is linear in the size of the body.
    """
    kind = _kind_of(endpoint)
    model = body.get("model")
    content = ContentCounter(counter, model if isinstance(model, str) and model else counter.model)
    prompt_tokens = PROMPT_COUNTERS.get(kind, json_tokens)(body, content)
    output_tokens = _output_tokens(kind, body, content.model, assumed_output_tokens)
    return max(1, min(prompt_tokens + output_tokens, MAX_COST_TOKENS))


def count_request_images(endpoint: str, body: dict[str, Any]) -> int:
    """Images that a request makes: `n` (1 where none is given) at images/generations, 0 elsewhere; never raises."""
    return _choices(body, "n") if _kind_of(endpoint) == _MAKES_IMAGES else 0
