"""From a parsed line to a request that the fleet can run, or the error that says why not."""

from __future__ import annotations

from collections.abc import Callable

from keyfleet.batch.packing import Packing
from keyfleet.batch.parse import ParsedLine
from keyfleet.contract import Cost, Request
from keyfleet.errors import InvalidRequest, NoKeyServes, RequestTooLarge
from keyfleet.running.served_models import ServedModels, admitted_cost
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS, TextCounter, counter_for

__all__ = ["Admission"]


class Admission:
    """Counts what requests cost, and checks them against what the keys can do."""

    def __init__(
        self,
        served: ServedModels | None,
        encoding_name: str | None,
        *,
        takes_full_urls: bool = False,
        assumed_output_tokens: Callable[[str], int] = lambda model: ASSUMED_OUTPUT_TOKENS,
        packing: Packing | None = None,
    ) -> None:
        """`served` None: other hosts' workers may serve what this one doesn't know of. `takes_full_urls`: the full
        URLs are those of `--url`, so they come from whoever gave the keys. `assumed_output_tokens(model)` is the
        output that is reserved where a request names no maximum. `packing` says which requests may share a call; None:
        each is sent alone."""
        self._takes_full_urls = takes_full_urls
        self._assumed_output_tokens = assumed_output_tokens
        self._packing = packing
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
        cost = admitted_cost(
            served,
            parsed.model,
            parsed.endpoint,
            parsed.body,
            counter=counter,
            assumed_output_tokens=self._assumed_output_tokens(parsed.model),
        )
        if served is not None:
            _check(served, parsed, cost)
        return Request(
            id=str(parsed.number),
            endpoint=parsed.endpoint,
            model=parsed.model,
            body=parsed.body_bytes,
            cost_tokens=cost.tokens,
            context=parsed.context,
            pack=self._packing.name(parsed.endpoint, parsed.body) if self._packing is not None else "",
            cost_images=cost.images,
        )


def _check(served: ServedModels, parsed: ParsedLine, cost: Cost) -> None:
    try:
        served.check(parsed.model, cost)
    except (NoKeyServes, RequestTooLarge) as error:
        field = "model" if isinstance(error, NoKeyServes) else "n" if cost.images else "max_tokens"
        raise InvalidRequest(f"line {parsed.number}: {error}", code=error.code, field=field) from None
