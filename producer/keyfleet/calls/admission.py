"""From what a caller gives to a request that the fleet can run, or the error that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from keyfleet.batch.endpoints import deployment_model, refusal, split_url
from keyfleet.batch.json_text import likely_model
from keyfleet.contract import Cost, Request
from keyfleet.errors import InvalidRequest
from keyfleet.running.served_models import ServedModels, admitted_cost
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS, TextCounter, counter_for

__all__ = ["CallAdmission"]

MOST_MODELS = 1_000
"""Models of which something is remembered: names may come from whoever can call."""

QUICK_BYTES = 4096
"""The tokens of a body that is no longer are counted in half a millisecond."""


class CallAdmission:
    """Checks calls and counts what they cost. For any thread.

    What the provider itself says better is left to it: a body is only refused for what the fleet can't carry.
    """

    def __init__(self, served: ServedModels | None, encoding_name: str | None) -> None:
        """`served` None: other hosts' workers may serve what this one doesn't know of."""
        self.served = served
        self._encoding_name = encoding_name
        self._counters: dict[str, TextCounter] = {}
        self._outputs: dict[str, int] = {}

    def refresh(self, output_tokens: Callable[[str], int]) -> None:
        """Ask what answers of the models in use have lately been. By one thread: no call may wait for the server."""
        for model in list(self._outputs):
            self._outputs[model] = output_tokens(model)

    def takes_long(self, body: bytes) -> bool:
        """Whether `request` may take longer than an event loop can spare: to count a long body, or to load what its
        model's tokens are counted with. Goes by the first member of the body that looks like its model."""
        return len(body) > QUICK_BYTES or likely_model(body) not in self._counters

    def request(self, call_id: str, endpoint: str, body: bytes, *, urgent: bool, streams: bool = False) -> Request:
        """The request of a call, whose answer comes in pieces where `streams`. Raises InvalidRequest, NoKeyServes and
        RequestTooLarge."""
        path = _endpoint(endpoint)
        document = _document(body)
        _check_stream(document, streams)
        model = _model(document, path)
        cost = self._cost(path, document, model)
        if self.served is not None:
            self.served.check(model, cost)
        return Request(
            *(call_id, path, model, body, cost.tokens),
            urgent=urgent,
            streams=streams,
            cost_images=cost.images,
        )

    def _cost(self, endpoint: str, document: dict[str, Any], model: str) -> Cost:
        counter = self._counters.get(model) or counter_for(model, encoding_name=self._encoding_name)
        cost = admitted_cost(
            self.served,
            model,
            endpoint,
            document,
            counter=counter,
            assumed_output_tokens=self._outputs.get(model, ASSUMED_OUTPUT_TOKENS),
        )
        if len(self._counters) < MOST_MODELS:
            self._counters[model] = counter  # now that it has counted, what it needs is loaded
            self._outputs.setdefault(model, ASSUMED_OUTPUT_TOKENS)
        return cost


def _endpoint(endpoint: str) -> str:
    try:
        base_url, path = split_url(endpoint)
    except ValueError as error:
        raise InvalidRequest(f"endpoint: {error}", code="invalid_url", field="endpoint") from None
    if base_url is not None:
        raise InvalidRequest(
            "endpoint: expected a path such as /v1/chat/completions; keys know their providers' addresses",
            code="invalid_url",
            field="endpoint",
        )
    why = refusal(path)
    if why:
        raise InvalidRequest(f"endpoint: {path} {why}", code="unsupported_endpoint", field="endpoint")
    return path


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidRequest("body: expected one JSON object", code="invalid_json", field="body")
    return document


def _check_stream(document: dict[str, Any], streams: bool) -> None:
    asked = document.get("stream")
    if asked is not None and not isinstance(asked, bool):
        raise InvalidRequest("stream: expected true or false", code="invalid_type", field="stream")
    if bool(asked) != streams:
        expected = "true" if streams else "false or nothing; an answer in pieces is what Fleet.stream is for"
        raise InvalidRequest(f"stream: expected {expected}", code="unexpected_stream", field="stream")


def _model(document: dict[str, Any], endpoint: str) -> str:
    model = document.get("model", deployment_model(endpoint))
    if not isinstance(model, str) or not model.strip():
        code = "missing_model" if model is None else "invalid_model"
        raise InvalidRequest("model: expected the name of a model", code=code, field="model")
    try:
        model.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            "model: holds half a character; expected a name", code="invalid_model", field="model"
        ) from None
    return model
