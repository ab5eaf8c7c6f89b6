"""From a parsed line to a request that the fleet can run, or the error that says why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keyfleet.batch.parse import ParsedLine
from keyfleet.config import KeyConfig, scaled_amount
from keyfleet.contract import Request
from keyfleet.errors import InvalidRequest
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS, TextCounter, count_request_tokens, counter_for

__all__ = ["Admission", "ServedModels"]

MOST_MODELS = 1_000
"""Models whose largest limits are remembered; finding them anew for every line took a sixth of the producer's time."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """What the configured keys can serve. Used where the workers are this command's own."""

    keys: Sequence[KeyConfig]
    use: float
    _largest_by_model: dict[str, tuple[float, str | None]] = field(default_factory=dict, repr=False, compare=False)

    def check(self, number: int, model: str, cost_tokens: int) -> None:
        """Raises InvalidRequest if no key serves `model`, or none whose limits could ever start such a request."""
        largest, which = self._largest_of_all(model)
        if which is None:
            patterns = sorted({pattern for key in self.keys for pattern in key.models})
            raise InvalidRequest(
                f"line {number}: no configured key serves the model {model!r}; served are {', '.join(patterns)}",
                code="model_not_served",
                field="model",
            )
        if cost_tokens > largest:
            raise InvalidRequest(
                f"line {number}: the request costs {cost_tokens} tokens (prompt plus allowed output), "
                f"{cost_tokens - int(largest)} more than the largest limit ever allows ({which})",
                code="request_too_large",
                field="max_tokens",
            )

    def fits(self, model: str, cost_tokens: int) -> bool:
        """Whether the limits of some key that serves `model` could start such a request."""
        return cost_tokens <= self._largest_of_all(model)[0]

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


class Admission:
    """Counts what requests cost, and checks them against what the keys can do."""

    def __init__(
        self,
        served: ServedModels | None,
        encoding_name: str | None,
        *,
        takes_full_urls: bool = False,
        assumed_output_tokens: Callable[[str], int] = lambda model: ASSUMED_OUTPUT_TOKENS,
    ) -> None:
        """`served` None: other hosts' workers may serve what this one doesn't know of. `takes_full_urls`: the full
        URLs are those of `--url`, so they come from whoever gave the keys. `assumed_output_tokens(model)` is the
        output that is reserved where a request names no maximum."""
        self._takes_full_urls = takes_full_urls
        self._assumed_output_tokens = assumed_output_tokens
        self._served = served
        self._encoding_name = encoding_name
        self._counters: dict[str, TextCounter] = {}

    def serve(self, served: ServedModels) -> None:
        """From now on this is what the keys can do. Safe to be called while another thread makes requests."""
        self._served = served

    def request(self, parsed: ParsedLine) -> Request:
        """The request of a line. Raises InvalidRequest."""
        if parsed.base_url is not None and not self._takes_full_urls:
            raise InvalidRequest(
                f"line {parsed.number}: url: expected a path such as /v1/chat/completions; "
                "keys are never sent to an address that stands in the input",
                code="invalid_url",
                field="url",
            )
        counter = self._counters.get(parsed.model)
        if counter is None:
            counter = self._counters[parsed.model] = counter_for(parsed.model, encoding_name=self._encoding_name)
        served = self._served
        cost_tokens = self._cost_tokens(parsed, counter, served)
        if served is not None:
            served.check(parsed.number, parsed.model, cost_tokens)
        return Request(
            id=str(parsed.number),
            endpoint=parsed.endpoint,
            model=parsed.model,
            body=parsed.body_bytes,
            cost_tokens=cost_tokens,
            context=parsed.context,
        )

    def _cost_tokens(self, parsed: ParsedLine, counter: TextCounter, served: ServedModels | None) -> int:
        """A guess of ours is no reason to refuse a request: where it fits no limit, an ordinary answer's holds."""
        assumed = self._assumed_output_tokens(parsed.model)

        def cost(assumed_output_tokens: int) -> int:
            return count_request_tokens(
                parsed.endpoint, parsed.body, counter=counter, assumed_output_tokens=assumed_output_tokens
            )

        cost_tokens = cost(assumed)
        if assumed > ASSUMED_OUTPUT_TOKENS and served is not None and not served.fits(parsed.model, cost_tokens):
            return cost(ASSUMED_OUTPUT_TOKENS)
        return cost_tokens
