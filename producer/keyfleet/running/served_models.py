"""What the configured keys can serve, for those who start workers of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyfleet.config import KeyConfig, Unit, scaled_amount
from keyfleet.contract import Cost
from keyfleet.errors import NoKeyServes, RequestTooLarge
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS, TextCounter, count_request_images, count_request_tokens

__all__ = ["ServedModels", "admitted_cost"]

MOST_MODELS = 1_000
"""Models whose largest limits are remembered; finding them anew for every line took a sixth of the producer's time."""


@dataclass(frozen=True, slots=True)
class _Largest:
    """The largest number of a unit that a key can ever start at once, and by which limit; `inf` where it has none."""

    amount: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class _LargestCost:
    """The largest request that a key can ever start."""

    tokens: _Largest
    images: _Largest

    def fits(self, cost: Cost) -> bool:
        return cost.tokens <= self.tokens.amount and cost.images <= self.images.amount


@dataclass(frozen=True, slots=True)
class ServedModels:
    """What the configured keys can serve. Used where the workers are this command's own."""

    keys: Sequence[KeyConfig]
    use: float
    _largest_by_model: dict[str, tuple[_LargestCost, ...]] = field(default_factory=dict, repr=False, compare=False)

    def check(self, model: str, cost: Cost) -> None:
        """Raises NoKeyServes if no key serves `model`, RequestTooLarge if no limits could ever start such a request."""
        largest = self._largest_costs(model)
        if not largest:
            patterns = tuple(sorted({pattern for key in self.keys for pattern in key.models}))
            raise NoKeyServes(
                f"no configured key serves the model {model!r}; served are {', '.join(patterns)}",
                model=model,
                served=patterns,
            )
        if not any(one.fits(cost) for one in largest):
            raise RequestTooLarge(_why_too_large(cost, largest))

    def cost_that_fits(self, model: str, cost: Callable[[int], Cost], assumed_output_tokens: int) -> Cost:
        """What `cost(output)` is for the assumed output, or for an ordinary answer's where that fits no limit: a guess
        of ours is no reason to refuse a request."""
        assumed = cost(assumed_output_tokens)
        is_guess = assumed_output_tokens > ASSUMED_OUTPUT_TOKENS
        if is_guess and not any(one.fits(assumed) for one in self._largest_costs(model)):
            return cost(ASSUMED_OUTPUT_TOKENS)
        return assumed

    def count(self, model: str) -> int:
        """How many keys serve `model`."""
        return sum(key.serves(model) for key in self.keys)

    def _largest_costs(self, model: str) -> tuple[_LargestCost, ...]:
        """Of each key that serves the model, those with room for most tokens first."""
        found = self._largest_by_model.get(model)
        if found is None:
            each = [self._largest_cost(key, model) for key in self.keys if key.serves(model)]
            found = tuple(sorted(each, key=lambda one: -one.tokens.amount))
            if len(self._largest_by_model) < MOST_MODELS:
                self._largest_by_model[model] = found
        return found

    def _largest_cost(self, key: KeyConfig, model: str) -> _LargestCost:
        return _LargestCost(self._largest(key, model, "tokens"), self._largest(key, model, "images"))

    def _largest(self, key: KeyConfig, model: str, unit: Unit) -> _Largest:
        items = [item for pool in key.pools_for(model) if pool.limits for item in pool.limits.of(unit)]
        if not items:
            return _Largest(float("inf"))
        amount, item = min((scaled_amount(item, self.use * key.share), str(item)) for item in items)
        return _Largest(amount, f"{amount} {unit} of key {key.name}, {item}")


def _why_too_large(cost: Cost, largest: Sequence[_LargestCost]) -> str:
    tokens = max((one.tokens for one in largest), key=lambda one: one.amount)
    images = max((one.images for one in largest), key=lambda one: one.amount)
    if cost.tokens > tokens.amount:
        return _exceeds(tokens, cost.tokens, "tokens (prompt plus allowed output)")
    if cost.images > images.amount:
        return _exceeds(images, cost.images, "images")
    return f"the request costs {cost.describe()}; some keys' limits allow the one, some the other, and none both"


def _exceeds(largest: _Largest, amount: int, unit: str) -> str:
    excess = amount - int(largest.amount)
    return f"the request costs {amount} {unit}, {excess} more than the largest limit ever allows ({largest.words})"


def admitted_cost(
    served: ServedModels | None,
    model: str,
    endpoint: str,
    body: dict[str, Any],
    *,
    counter: TextCounter,
    assumed_output_tokens: int,
) -> Cost:
    """What a request costs: with the assumed output where it names no maximum, if that fits `served`."""
    images = count_request_images(endpoint, body)

    def cost(output_tokens: int) -> Cost:
        tokens = count_request_tokens(endpoint, body, counter=counter, assumed_output_tokens=output_tokens)
        return Cost(tokens, images)

    if served is None:
        return cost(assumed_output_tokens)
    return served.cost_that_fits(model, cost, assumed_output_tokens)
