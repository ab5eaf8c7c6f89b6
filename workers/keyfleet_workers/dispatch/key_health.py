"""What an answer tells of the key, its account and its provider, beyond the request that was answered."""

from __future__ import annotations

import logging
from collections import Counter

import redis

from keyfleet.clock import elapsed_s
from keyfleet.ledger import Transitions
from keyfleet_workers.dispatch.taker import Grant
from keyfleet_workers.dispatch.trouble import LIMITED_FORGIVEN, REFUSALS_FORGIVEN, RefusedRequests, Trouble
from keyfleet_workers.holds import Holds, KeyScopes, KeyState, pool_scope
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.limiter.ramps import Ramps
from keyfleet_workers.provider import Verdict, VerdictKind
from keyfleet_workers.quota_pools import Quota

__all__ = ["KeyHealth"]

logger = logging.getLogger(__name__)

DEFAULT_COOLDOWN_MS = 1000
"""Rest of a quota after a 429 that doesn't say how long (ms)."""

LONG_REST_MS = 3_600_000
"""A quota that rests for longer has met a limit of a day (ms)."""

MODEL_REST_MS = 600_000
"""How long a key leaves a model, that it was told it can't use, to others before it tries again (ms)."""

ALONE_GRACE_S = 5.0
"""How long a key that can't use a model waits for another that may, where none is known (s)."""

ALONE_LOOK_MS = 1000
"""Meanwhile it looks again after so long (ms)."""

REASON_CHARACTERS = 200
"""Longest part of a provider's words that is kept with a hold."""

_FAILURES = frozenset({VerdictKind.RETRYABLE, VerdictKind.TIMED_OUT})


class KeyHealth:
    """Holds what must rest, for all hosts."""

    def __init__(
        self,
        *,
        key_name: str,
        scopes: KeyScopes,
        holds: Holds,
        ramps: Ramps,
        learner: LimitLearner,
        transitions: Transitions,
    ) -> None:
        self._key_name = key_name
        self._scopes = scopes
        self._holds = holds
        self._ramps = ramps
        self._learner = learner
        self._transitions = transitions
        self.trouble = Trouble()
        self.refused = RefusedRequests(REFUSALS_FORGIVEN)
        self.limited = RefusedRequests(LIMITED_FORGIVEN)
        self._passed: Counter[str] = Counter()
        self._alone_since_s: dict[str, float] = {}

    def is_cautious(self, quota: Quota) -> bool:
        """Whether calls should go out one by one: nothing is known of the quota yet, or the provider fails."""
        return self.trouble.is_suspect or not self._learner.is_met(quota)

    def may_be_first(self, quota: Quota) -> bool:
        """Whether a call may go out now where calls go out one by one: not beside another worker's first one."""
        return self._learner.is_met(quota) or self._learner.may_be_first(quota)

    def is_not_first(self, quota: Quota) -> None:
        """Nothing was taken that could show how the quota fares."""
        if not self._learner.is_met(quota):
            self._learner.is_not_first(quota)

    def note(self, verdict: Verdict, grant: Grant, began_s: float, answered: str | None) -> None:
        """Take in what came of a call that began at `began_s`; `answered` is its request's key if anyone answered."""
        kind = verdict.kind
        if kind is VerdictKind.UNREACHABLE:
            if answered is not None and not self.trouble.is_suspect:
                self.refused.note(answered, self._passed.total())
            pause_ms = self.trouble.note_failure(began_s, at_once=True)
            self._hold(self._scopes.way, KeyState.UNREACHABLE, verdict, pause_ms)
        elif kind in _FAILURES:
            pause_ms = self.trouble.note_failure(began_s)
            self._hold(self._scopes.failing, KeyState.COOLING, verdict, pause_ms)
        elif answered is not None:
            self.trouble.note_answer()
            self._note_answer(verdict, grant)
            if kind is VerdictKind.SUCCESS:
                self._passed[grant.quota.name] += 1
            elif kind is VerdictKind.RATE_LIMITED and grant.quota.limits:
                self.limited.note(answered, self._passed[grant.quota.name])

    def _note_answer(self, verdict: Verdict, grant: Grant) -> None:
        if verdict.kind is VerdictKind.RATE_LIMITED:
            self._cool_down(verdict, grant)
        elif verdict.kind is VerdictKind.TOO_LARGE and verdict.limit is not None:
            self._learner.note_ceiling(grant.quota, verdict.limit)
        elif verdict.kind is VerdictKind.OUT_OF_CREDIT:
            scope = self._scopes.own_credit if verdict.is_own_budget else self._scopes.credit
            self._set_aside(scope, KeyState.OUT_OF_CREDIT, verdict)
        elif verdict.kind is VerdictKind.REVOKED:
            self._set_aside(self._scopes.refused, KeyState.REVOKED, verdict)

    def leaves_model(self, queue: str) -> bool:
        """Whether the key, which can't use `queue`'s model, leaves its requests to other keys: there are some, or the
        worker of one may just be starting."""
        alone_since_s = self._alone_since_s.setdefault(queue, elapsed_s())
        may_be_joined = elapsed_s() - alone_since_s < ALONE_GRACE_S
        alone_ms = ALONE_LOOK_MS if may_be_joined else 0
        try:
            leaves = self._transitions.lose_model(queue, self._key_name, MODEL_REST_MS, alone_ms=alone_ms)
        except redis.RedisError:
            return True
        if leaves:
            logger.warning("key %s can't use the model of queue %s and leaves it to others", self._key_name, queue)
        return leaves or may_be_joined

    def _cool_down(self, verdict: Verdict, grant: Grant) -> None:
        rest_ms = verdict.wait_ms or DEFAULT_COOLDOWN_MS  # a wait of 0 gives none, as for OpenAI's official client
        is_of_day = verdict.is_day_limit or rest_ms > LONG_REST_MS
        state = KeyState.RESTING if is_of_day else KeyState.COOLING
        self._holds.set(pool_scope(grant.quota.name), state, _reason(verdict), rest_ms)
        if verdict.slow_down:
            self._ramps.slow_down(grant.quota.name, grant.granted_ms)

    def _hold(self, scope: str, state: KeyState, verdict: Verdict, pause_ms: int | None) -> None:
        if pause_ms is not None and self._holds.set(scope, state, _reason(verdict), pause_ms):
            logger.warning(
                "key %s pauses for %.3g s: %s %s", self._key_name, pause_ms / 1000, verdict.code, verdict.message
            )

    def _set_aside(self, scope: str, state: KeyState, verdict: Verdict) -> None:
        if self._holds.set(scope, state, _reason(verdict), None):
            logger.warning("key %s is set aside: %s %s", self._key_name, verdict.code, verdict.message)


def _reason(verdict: Verdict) -> str:
    """The provider's code and words, on one line."""
    return " ".join(f"{verdict.code}: {verdict.message}".split())[:REASON_CHARACTERS].rstrip(": ")
