"""Asking a provider whether a key that was set aside works again, with a call that costs little or nothing."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable

from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.provider import (
    Answer,
    CallFailed,
    ProviderClient,
    Verdict,
    VerdictKind,
    classify,
    classify_failure,
)

__all__ = ["ask_for_credit", "ask_freely", "still_holds"]

TIMEOUT_S = 30.0
"""Longest silence of a provider that is probed (s)."""

PROBE_TOKENS = 20
"""What the smallest call reserves: a word, and one token of output."""


def ask_freely(client: ProviderClient, binding: KeyBinding) -> Verdict:
    """What the list of models brings, which costs nothing: it tells whether the key is taken, and not of its credit."""
    return _verdict(binding, lambda: client.get("/v1/models", read_timeout_s=TIMEOUT_S))


def ask_for_credit(
    client: ProviderClient, binding: KeyBinding, model: str, storage: ExactRedisStorage
) -> Verdict | None:
    """What the smallest call of `model` brings, within the key's limits; None where these leave no room for it now.

    Only a call that would have to be paid tells whether it could be.
    """
    quota = binding.quota(model)
    if quota.limits and not storage.reserve(quota.limits, [quota.costs(PROBE_TOKENS)]).granted:
        return None
    endpoint, body = _smallest_call(binding.alias(model) or model)
    return _verdict(binding, lambda: client.post(endpoint, body, read_timeout_s=TIMEOUT_S))


def still_holds(verdict: Verdict) -> bool:
    """Whether a probe gives no reason to use the key again. Any answer of the API to the call itself is one."""
    return verdict.kind in (
        VerdictKind.REVOKED,
        VerdictKind.OUT_OF_CREDIT,
        VerdictKind.UNREACHABLE,
        VerdictKind.RETRYABLE,
        VerdictKind.TIMED_OUT,
    )


def _smallest_call(model: str) -> tuple[str, bytes]:
    """Endpoint and body. The name of `user` keeps each probe apart from every other."""
    user = f"keyfleet-probe-{uuid.uuid4().hex[:12]}"
    if "embed" in model:
        return "/v1/embeddings", json.dumps({"model": model, "input": "Hi", "user": user}).encode()
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "user": user}
    return "/v1/chat/completions", json.dumps(body).encode()


def _verdict(binding: KeyBinding, call: Callable[[], Answer]) -> Verdict:
    try:
        answer = call()
    except CallFailed as error:
        return classify_failure(error.failure, str(error))
    body = binding.error_without_traces(answer.body)
    via_proxy = binding.proxy_url is not None
    return classify(binding.provider, answer.status, answer.headers, body, now_s=time.time(), via_proxy=via_proxy)
