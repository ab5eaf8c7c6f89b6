"""Asking a provider whether a key that was set aside works again, with a call that costs little or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from keyfleet.contract import Cost
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.holds import Hold, KeyState
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
from keyfleet_workers.smallest_call import SMALLEST_CALL_TOKENS, SmallestCall, has_begun_to_answer

__all__ = ["KeyProbe", "PaidProbe", "ask_freely", "lifts"]

TIMEOUT_S = 30.0
"""Longest silence of a provider that is probed (s)."""

_TELLS_NOTHING_GOOD = frozenset(
    {
        VerdictKind.REVOKED,
        VerdictKind.OUT_OF_CREDIT,
        VerdictKind.UNREACHABLE,
        VerdictKind.RETRYABLE,
        VerdictKind.TIMED_OUT,
    }
)


def ask_freely(client: ProviderClient, binding: KeyBinding) -> Verdict:
    """What the list of models brings, which costs nothing: it tells whether the key is taken, and not of its credit."""
    return _verdict(binding, lambda: client.get("/v1/models", read_timeout_s=TIMEOUT_S))


def lifts(state: KeyState, verdict: Verdict) -> bool:
    """Whether a probe's answer ends a hold of `state`.

    Any answer of the API to the call itself tells that the key is taken. Of credit only a call tells that was let
    through, or would have been but for a limit: what a request lacks is often found before its price is asked about.
    """
    if state is KeyState.OUT_OF_CREDIT:
        return verdict.kind in (VerdictKind.SUCCESS, VerdictKind.RATE_LIMITED)
    return verdict.kind not in _TELLS_NOTHING_GOOD


class PaidProbe:
    """Asks with the smallest call, within the key's limits. It remembers which form of it each model takes."""

    def __init__(self, client: ProviderClient, binding: KeyBinding, storage: ExactRedisStorage) -> None:
        self._client = client
        self._binding = binding
        self._storage = storage
        self._calls: dict[str, SmallestCall] = {}

    def ask(self, model: str) -> Verdict | None:
        """What the smallest call of `model` brings; None where the limits leave no room for it now.

        Only a call that would have to be paid tells whether it could be. One that is refused for its form is made once
        more in the form that the refusal names.
        """
        known = self._calls.pop(model, None)
        call = known or SmallestCall.of(self._binding.alias(model) or model, self._binding.provider)
        verdict = self._send(model, call)
        instead = None if verdict is None else call.instead(verdict)
        if instead is not None:
            call, verdict = instead, self._send(model, instead)
        if verdict is None or not _tells_nothing(verdict):
            self._calls[model] = call
        return verdict

    def _send(self, model: str, call: SmallestCall) -> Verdict | None:
        quota = self._binding.quota(model)
        if quota.limits and not self._storage.reserve(quota.limits, [quota.costs(Cost(SMALLEST_CALL_TOKENS))]).granted:
            return None
        verdict = _verdict(
            self._binding, lambda: self._client.post(call.endpoint, call.body(), read_timeout_s=TIMEOUT_S)
        )
        return replace(verdict, kind=VerdictKind.SUCCESS) if has_begun_to_answer(verdict) else verdict


class KeyProbe:
    """Probes a worker's key for what holds it: with the free call where that tells, else with the smallest one."""

    def __init__(
        self,
        client: ProviderClient,
        binding: KeyBinding,
        storage: ExactRedisStorage,
        models: Callable[[], Sequence[str]],
    ) -> None:
        """`models` are those that the worker serves now."""
        self._client = client
        self._binding = binding
        self._paid = PaidProbe(client, binding, storage)
        self._models = models
        self._turn = 0

    def ask(self, hold: Hold, has_relapsed: bool) -> Verdict | None:
        """What the provider says; None where it can't be asked now.

        The free call isn't trusted where the key was refused again after it: some servers show their models to
        anybody. Where the smallest call of one model tells nothing, it is another model's turn the next time.
        """
        if hold.state is not KeyState.OUT_OF_CREDIT and not has_relapsed:
            return ask_freely(self._client, self._binding)
        models = self._models()
        if not models:
            return None
        verdict = self._paid.ask(models[self._turn % len(models)])
        if verdict is not None and _tells_nothing(verdict):
            self._turn += 1
        return verdict


def _tells_nothing(verdict: Verdict) -> bool:
    """Whether the call wasn't as the provider wants it, so that its price was perhaps not looked at."""
    return verdict.kind in (VerdictKind.FINAL, VerdictKind.MODEL_LOST)


def _verdict(binding: KeyBinding, call: Callable[[], Answer]) -> Verdict:
    try:
        answer = call()
    except CallFailed as error:
        return classify_failure(error.failure, str(error))
    body = binding.error_without_traces(answer.body)
    return classify(
        binding.provider,
        answer.status,
        answer.headers,
        body,
        now_s=time.time(),
        via_proxy=binding.proxy_url is not None,
        is_plain=binding.is_plain,
    )
