"""The smallest call of a model that has to be paid, in the form that its provider wants."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, replace
from typing import Literal

from keyfleet.config import Provider
from keyfleet_workers.provider import Verdict, VerdictKind

__all__ = ["SMALLEST_CALL_TOKENS", "SmallestCall", "has_begun_to_answer"]

OUTPUT_TOKENS = 16
"""The least that the responses endpoint takes, and that models take that think before they answer."""

SMALLEST_CALL_TOKENS = 32
"""What the smallest call reserves: a word with what surrounds it, and the output."""

_THINKS = re.compile(r"^(?:ft:)?(?:o[1-9]|gpt-[5-9]|codex)")
"""OpenAI's models that refuse `max_tokens` (https://github.com/teilomillet/gollm/issues/33, and of GPT-5
https://github.com/griptape-ai/ComfyUI-Griptape/issues/312)."""

_OTHER_ENDPOINT = re.compile(r"\bv1/(responses|completions)\b")
"""`This model is only supported in v1/responses`, `Did you mean to use v1/completions?`
(https://github.com/Chanzhaoyu/chatgpt-web/issues/1428)"""

_LIMIT_REACHED = "model output limit was reached"

Maximum = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True)
class SmallestCall:
    """A call of `model`, by its name at the provider, to `endpoint`; `maximum` is what bounds its output."""

    model: str
    endpoint: str
    maximum: Maximum = "max_tokens"

    @classmethod
    def of(cls, model: str, provider: Provider) -> SmallestCall:
        """What the model most likely takes."""
        if "embed" in model:
            return cls(model, "/v1/embeddings")
        thinks = provider in ("openai", "azure") and _THINKS.match(model) is not None
        return cls(model, "/v1/chat/completions", "max_completion_tokens" if thinks else "max_tokens")

    def body(self) -> bytes:
        """The JSON body. The name of `user` keeps each probe apart from every other."""
        fields: dict[str, object] = {"model": self.model, "user": f"keyfleet-probe-{uuid.uuid4().hex[:12]}"}
        if self.endpoint == "/v1/chat/completions":
            fields |= {"messages": [{"role": "user", "content": "Hi"}], self.maximum: self._output_tokens()}
        elif self.endpoint == "/v1/completions":
            fields |= {"prompt": "Hi", "max_tokens": 1}
        else:
            fields["input"] = "Hi"
            if self.endpoint == "/v1/responses":
                fields["max_output_tokens"] = OUTPUT_TOKENS
        return json.dumps(fields).encode()

    def _output_tokens(self) -> int:
        return 1 if self.maximum == "max_tokens" else OUTPUT_TOKENS

    def instead(self, verdict: Verdict) -> SmallestCall | None:
        """The call that the provider's refusal of this one asks for; None where it asks for none."""
        if verdict.kind not in (VerdictKind.FINAL, VerdictKind.MODEL_LOST):
            return None
        endpoint = _OTHER_ENDPOINT.search(verdict.message)
        if endpoint is not None and endpoint[0] not in self.endpoint:
            return replace(self, endpoint=f"/{endpoint[0]}")
        if self.endpoint != "/v1/chat/completions" or self.maximum not in verdict.message:
            return None
        return replace(self, maximum="max_completion_tokens" if self.maximum == "max_tokens" else "max_tokens")


def has_begun_to_answer(verdict: Verdict) -> bool:
    """Whether an error says that the model was cut off: it was called, and that was paid for.

    https://github.com/spiceai/spiceai/issues/7126
    """
    return verdict.kind is VerdictKind.FINAL and _LIMIT_REACHED in verdict.message
