"""What the configured keys can serve, for those who start workers of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyfleet.config import KeyConfig, scaled_amount
from keyfleet.errors import NoKeyServes, RequestTooLarge
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS, TextCounter, count_request_tokens

__all__ = ["ServedModels", "admitted_cost_tokens"]

MOST_MODELS = 1_000
"""Models whose largest limits are remembered; finding them anew for every line took a sixth of the producer's time."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """What the configured keys can serve. Used where the workers are this command's own."""

    keys: Sequence[KeyConfig]
    use: float
    _largest_by_model: dict[str, tuple[float, str | None]] = field(default_factory=dict, repr=False, compare=False)

    def check(self, model: str, cost_tokens: int) -> None:
        """Raises NoKeyServes if no key serves `model`, RequestTooLarge if no limits could ever start such a request."""
        largest, which = self._largest_of_all(model)
        if which is None:
            patterns = tuple(sorted({pattern for key in self.keys for pattern in key.models}))
            raise NoKeyServes(
                f"no configured key serves the model {model!r}; served are {', '.join(patterns)}",
                model=model,
                served=patterns,
            )
        if cost_tokens > largest:
            raise RequestTooLarge(
                f"the request costs {cost_tokens} tokens (prompt plus allowed output), "
                f"{cost_tokens - int(largest)} more than the largest limit ever allows ({which})"
            )

    def cost_that_fits(self, model: str, cost: Callable[[int], int], assumed_output_tokens: int) -> int:
        """What `cost(output)` is for the assumed output, or for an ordinary answer's where that fits no limit: a guess
        of ours is no reason to refuse a request."""
        cost_tokens = cost(assumed_output_tokens)
        if assumed_output_tokens > ASSUMED_OUTPUT_TOKENS and cost_tokens > self._largest_of_all(model)[0]:
            return cost(ASSUMED_OUTPUT_TOKENS)
        return cost_tokens

    def count(self, model: str) -> int:
        """How many keys serve `model`."""
        return sum(key.serves(model) for key in self.keys)

    def _largest_of_all(self, model: str) -> tuple[float, str | None]:
        """The largest cost that any key can start, and by which limit; None where no key serves the model."""
        largest = self._largest_by_model.get(model)
        if largest is None:
            serving = [self._largest(key, model) for key in self.keys if key.serves(model)]
            largest = max(serving, key=lambda found: found[0], default=(0.0, None))
            if len(self._largest_by_model) < MOST_MODELS:
                self._largest_by_model[model] = largest
        return largest

    def _largest(self, key: KeyConfig, model: str) -> tuple[float, str | None]:
        items = [item for pool in key.pools_for(model) if pool.limits for item in pool.limits.tokens]
        if not items:
            return float("inf"), ""
        amount, item = min((scaled_amount(item, self.use * key.share), str(item)) for item in items)
        return amount, f"{amount} tokens of key {key.name}, {item}"


def admitted_cost_tokens(
    served: ServedModels | None,
    model: str,
    endpoint: str,
    body: dict[str, Any],
    *,
    counter: TextCounter,
    assumed_output_tokens: int,
) -> int:
    """What a request costs (tokens): with the assumed output where it names no maximum, if that fits `served`."""

    def cost(output_tokens: int) -> int:
        return count_request_tokens(endpoint, body, counter=counter, assumed_output_tokens=output_tokens)

    if served is None:
        return cost(assumed_output_tokens)
    return served.cost_that_fits(model, cost, assumed_output_tokens)
