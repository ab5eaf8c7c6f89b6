"""The provider behind the socket: who may ask, what is admitted, and how each request ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from itertools import count
from typing import Any, get_args

from keyfleet.errors import ConfigurationError
from keyfleet.sim.behaviours import error_for_call
from keyfleet.sim.config import Behaviour, Kind, SimConfig
from keyfleet.sim.enforcement import Refusal
from keyfleet.sim.error_bodies import (
    ApiError,
    incorrect_api_key,
    invalid_request,
    limit_refusal,
    missing_api_key,
    model_not_found,
    spurious_refusal,
    too_many_inputs,
)
from keyfleet.sim.exchange import Exchange, Plan
from keyfleet.sim.faults import Fault, FaultChooser
from keyfleet.sim.fields import BadRequest
from keyfleet.sim.flavours import limit_headers, not_of_this_provider
from keyfleet.sim.keyring import GroupQuota, Keyring, KeyState
from keyfleet.sim.plans import Planner
from keyfleet.sim.prompts import Asked, Endpoint, read_request
from keyfleet.sim.protocol import HttpConnection, HttpRequest
from keyfleet.sim.statistics import Statistics, Visit

__all__ = ["Provider"]

_DIGEST_BYTES = 16
_OPERATIONS: dict[Endpoint, str] = {
    "completions": "Completions_Create",
    "chat/completions": "ChatCompletions_Create",
    "embeddings": "Embeddings_Create",
    "responses": "Responses_Create",
    "moderations": "Moderations_Create",
    "images/generations": "ImageGenerations_Create",
}
"""What Azure calls the endpoints in its errors."""


class Provider:
    """Answers calls under the limits of a configuration. For one event loop; `clock_ns` is monotonic."""

    def __init__(self, config: SimConfig, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._numbers = count()
        self._configure(config, None)
        self.statistics = Statistics(clock_ns(), track_bodies=config.track_bodies)

    def _configure(self, config: SimConfig, earlier: Keyring | None) -> None:
        self.config = config
        self.keyring = Keyring(config, earlier)
        self._faults = FaultChooser(config.faults, config.seed)
        self._jitter = random.Random(config.seed)
        self._plans = Planner(config, self._jitter, self._numbers)

    def reset(self) -> None:
        """Forget all counts and all that was charged; random choices begin anew. Requests under way end uncounted."""
        self._configure(self.config, None)
        self.statistics = Statistics(self._clock_ns(), track_bodies=self.config.track_bodies)

    def reconfigure(self, config: SimConfig) -> None:
        """Go on with another configuration. Counts stay, and so does what was charged to limits that stay the same."""
        self._configure(config, self.keyring)

    def set_behaviour(self, name: str, behaviour: Behaviour) -> None:
        """From now on, until a reset, the key `name` (`*`: every key) behaves so.

        Raises ConfigurationError for a name or a behaviour that nobody knows.
        """
        if behaviour not in get_args(Behaviour):
            message = "behaviour: expected one of " + ", ".join(get_args(Behaviour))
            raise ConfigurationError(message, setting="behaviour")
        if not self.keyring.set_behaviour(name, behaviour):
            raise ConfigurationError(f"keys: there is no key {name!r}", setting="keys")

    def stats(self) -> dict[str, Any]:
        """The counts, as JSON values."""
        return self.statistics.document()

    def call(
        self, endpoint: Endpoint, request: HttpRequest, connection: HttpConnection, deployment: str | None = None
    ) -> None:
        """Take one API call to its end. `deployment` is the model that the path names."""
        key = self.keyring.find(request.api_key) if request.api_key else None
        is_tracked = self.config.track_bodies and not self.config.track_inputs
        digest = _digest(request.body) if is_tracked else None
        name = key.name if key else None
        visit = self.statistics.arrived(self._clock_ns(), endpoint, name, digest)
        exchange = Exchange(connection, visit, self.statistics, self._clock_ns)
        jitter_ms = self.config.latency.admission_jitter_ms
        delay_s = self._jitter.uniform(0, jitter_ms) / 1000 if jitter_ms else 0.0
        exchange.start(partial(self._decide, endpoint, request, deployment, key, self.statistics), delay_s=delay_s)

    def _decide(
        self,
        endpoint: Endpoint,
        request: HttpRequest,
        deployment: str | None,
        key: KeyState | None,
        statistics: Statistics,
        visit: Visit,
    ) -> Plan:
        if key is None:
            error = incorrect_api_key(request.api_key) if request.api_key else missing_api_key()
            return self._plans.refused(error)
        flavour = key.flavour
        refused = error_for_call(key.behaviour, request.api_key or "")
        if refused is None and not_of_this_provider(request.target, flavour):
            refused = invalid_request(f"Invalid URL (POST {request.target})", code="unknown_url", status=404)
        if refused is not None:
            return self._plans.refused(refused, flavour=flavour)
        try:
            asked = read_request(endpoint, request.body, self.config.answers, deployment)
        except BadRequest as bad:
            return self._plans.refused(bad.error, flavour=flavour)
        visit.model = asked.model
        if self.config.track_inputs:
            statistics.told_inputs(visit, tuple(_digest(text.encode("utf-8", "replace")) for text in asked.prompts))
        quota = key.quota_for(asked.model)
        if quota is None or (self.config.models and asked.model not in self.config.models):
            return self._plans.refused(model_not_found(asked.model), flavour=flavour)
        most = self.config.max_inputs
        if most is not None and len(asked.prompts) > most:
            return self._plans.refused(too_many_inputs(len(asked.prompts), most), flavour=flavour)
        fault = self._faults.choose(request.body)
        if fault is not None:
            statistics.struck(fault.name)
        return self._meet_limits(endpoint, asked, quota, fault, statistics, visit)

    def _meet_limits(
        self,
        endpoint: Endpoint,
        asked: Asked,
        quota: GroupQuota,
        fault: Fault | None,
        statistics: Statistics,
        visit: Visit,
    ) -> Plan:
        now_ns = self._clock_ns()
        flavour = quota.flavour
        if fault is not None and fault.wire == "spurious_429":
            wait_ms = self.config.faults.spurious_retry_after_ms
            headers = limit_headers(quota.standings(now_ns), flavour, time.time())
            error = spurious_refusal(wait_ms, model=asked.model, group=quota.group)
            return self._plans.refused(error, headers, outcome="spurious_429", flavour=flavour)
        refusal = quota.admit(now_ns, asked.cost_tokens, asked.cost_images)
        statistics.met_limits(visit, quota, now_ns, asked.cost_tokens, asked.cost_images, admitted=refusal is None)
        headers = (
            limit_headers(quota.standings(now_ns), flavour, time.time()) + f"openai-organization: org-{quota.group}\r\n"
        )
        if refusal is not None:
            return self._plans.refused(self._refused(refusal, endpoint, asked, quota), headers, flavour=flavour)
        return self._plans.admitted(endpoint, asked, fault, headers, flavour)

    def _refused(self, refusal: Refusal, endpoint: Endpoint, asked: Asked, quota: GroupQuota) -> ApiError:
        operation = _OPERATIONS[endpoint]
        kind: Kind = "fixed" if quota.flavour == "azure" else quota.kind
        return limit_refusal(refusal, model=asked.model, group=quota.group, kind=kind, operation=operation)


def _digest(text: bytes) -> bytes:
    return sha256(text).digest()[:_DIGEST_BYTES]
