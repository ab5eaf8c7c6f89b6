"""One call: the last checks, the call itself, and what becomes of its answer."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from keyfleet.clock import elapsed_s
from keyfleet.contract import AttemptError, Outcome
from keyfleet.ledger import Finish, Retry, Taken
from keyfleet_workers.cooldowns import Cooldowns
from keyfleet_workers.dispatch.delivery import Delivery, HandBack, Settle
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.taker import Grant
from keyfleet_workers.limiter import ExactRedisStorage, Settlement
from keyfleet_workers.provider import (
    Answer,
    CallFailed,
    ProviderClient,
    Verdict,
    VerdictKind,
    classify,
    classify_failure,
)
from keyfleet_workers.retry_policy import GiveUp, decide

__all__ = ["CallRunner", "ChunkCounts"]

logger = logging.getLogger(__name__)


class ChunkCounts:
    """What became of a chunk's requests; `wait` returns when none is under way any more."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._under_way = 0
        self.ends: Counter[str] = Counter()

    def begin(self) -> None:
        with self._condition:
            self._under_way += 1

    def end(self, how: str) -> None:
        with self._condition:
            self._under_way -= 1
            self.ends[how] += 1
            if not self._under_way:  # waking the chunk's thread for each call would cost as much as a round trip
                self._condition.notify_all()

    def wait(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._under_way == 0)


class CallRunner:
    """Runs calls of one key. Every call ends in exactly one result that is handed to `delivery`."""

    def __init__(
        self,
        *,
        key_name: str,
        client: ProviderClient,
        delivery: Delivery,
        held: HeldRequests,
        slots: CallSlots,
        storage: ExactRedisStorage,
        cooldowns: Cooldowns,
        key_timeout_s: float | None = None,
        without_secrets: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """`without_secrets` hides in an error's text what it repeats of the key."""
        self._without_secrets = without_secrets
        self._key_name = key_name
        self._client = client
        self._delivery = delivery
        self._held = held
        self._slots = slots
        self._storage = storage
        self._cooldowns = cooldowns
        self._key_timeout_s = key_timeout_s
        self.stopping = threading.Event()
        self.totals: Counter[str] = Counter()
        self._totals_lock = threading.Lock()

    def run(self, queue: str, taken: Taken, grant: Grant, counts: ChunkCounts) -> None:
        """Call, and deliver what came of it. Never raises."""
        how = "failed"
        try:
            how = self._run(queue, taken, grant)
        except Exception as error:
            # Without the error's own words, which may hold a proxy's password or a part of the request.
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error(
                "a call broke on %s (%s); its request goes back\n%s", self._key_name, type(error).__name__, where
            )
            self._delivery.put(queue, HandBack(taken.key, taken.token))
            how = "handed_back"
        finally:
            self._end(queue, taken, counts, how)

    def give_back(self, queue: str, taken: Taken, grant: Grant, counts: ChunkCounts) -> None:
        """What `run` does with a request that is not to be sent, for one that no thread will run."""
        how = self._hand_back(queue, taken, grant, refund=True)
        self._end(queue, taken, counts, how)

    def _end(self, queue: str, taken: Taken, counts: ChunkCounts, how: str) -> None:
        self._held.drop(queue, taken.key, taken.token)
        self._slots.release()
        with self._totals_lock:
            self.totals[how] += 1
        counts.end(how)

    def _run(self, queue: str, taken: Taken, grant: Grant) -> str:
        may_send, grant = self._last_checks(queue, taken, grant)
        if not may_send:
            return self._hand_back(queue, taken, grant, refund=True)
        began_s = elapsed_s()
        try:
            answer = self._client.post(
                taken.endpoint, taken.body, read_timeout_s=self._key_timeout_s or taken.options.timeout_s
            )
        except CallFailed as error:
            verdict = classify_failure(error.failure, str(error))
            self._settle(grant, taken, error.written_s or began_s, None)
            return self._conclude(queue, taken, grant, verdict, None)
        self._slots.note_latency(answer.finished_s - began_s)
        if answer.status >= 400:
            answer = replace(answer, body=self._without_secrets(answer.body))
        verdict = classify(answer.status, answer.headers, answer.body, now_s=time.time())
        self._settle(grant, taken, _admitted_s(answer), _tokens_used(verdict.document))
        return self._conclude(queue, taken, grant, verdict, answer)

    def _last_checks(self, queue: str, taken: Taken, grant: Grant) -> tuple[bool, Grant]:
        """Whether to send: the lease stands, and the charge stands at about the present time. And where it stands.

        A grant that has aged is moved forward to now, so that it can't leave its window before the provider's does.
        """
        if self.stopping.is_set() or not self._held.stands(queue, taken.key, taken.token):
            return False, grant
        age_s = elapsed_s() - grant.asked_s
        if age_s < grant.quota.guard_s() / 2:
            return True, grant
        if age_s > grant.quota.shortest_window_s() / 2:
            return False, grant
        now_s = elapsed_s()
        try:
            self._storage.settle(grant.quota.limits, [self._settlement(grant, taken, now_s, None)])
        except redis.RedisError:
            return False, grant
        moved = replace(grant, granted_ms=grant.server_ms(now_s), asked_s=now_s)
        return self._held.stands(queue, taken.key, taken.token), moved

    def _settlement(self, grant: Grant, taken: Taken, used_s: float, tokens: int | None) -> Settlement:
        reserved = grant.quota.costs(taken.cost_tokens)
        surcharge = max(0, (tokens or 0) - taken.cost_tokens)
        deltas = tuple(surcharge if limit.unit == "tokens" else 0 for limit in grant.quota.limits)
        return Settlement(grant.granted_ms, grant.server_ms(used_s), reserved, deltas)

    def _settle(self, grant: Grant, taken: Taken, used_s: float, tokens: int | None) -> None:
        """Correct the reservation where it was used late, or more than it was used."""
        late = used_s - grant.asked_s > grant.quota.guard_s() / 2
        if grant.quota.limits and (late or (tokens or 0) > taken.cost_tokens):
            self._delivery.put("", Settle(grant.quota, self._settlement(grant, taken, used_s, tokens)))

    def _hand_back(self, queue: str, taken: Taken, grant: Grant, *, refund: bool = False) -> str:
        if refund and grant.quota.limits:
            reserved = grant.quota.costs(taken.cost_tokens)
            nothing_used = Settlement(grant.granted_ms, grant.granted_ms, reserved, tuple(-cost for cost in reserved))
            self._delivery.put("", Settle(grant.quota, nothing_used))
        self._delivery.put(queue, HandBack(taken.key, taken.token))
        return "handed_back"

    def _conclude(self, queue: str, taken: Taken, grant: Grant, verdict: Verdict, answer: Answer | None) -> str:
        if verdict.kind is VerdictKind.SUCCESS:
            self._delivery.put(queue, Finish(taken.key, "", self._success(taken, verdict, answer)), taken.record)
            return "succeeded"
        if verdict.kind is VerdictKind.RATE_LIMITED:
            self._cooldowns.set(grant.quota.name, f"rate limited: {verdict.code}", verdict.wait_ms or 0)
            self._hand_back(queue, taken, grant)
            return "rate_limited"
        if verdict.kind in (VerdictKind.KEY_UNUSABLE, VerdictKind.UNREACHABLE):
            self._cooldowns.set_key(f"{verdict.kind.value}: {verdict.code}", verdict.wait_ms or 0)
            logger.warning("key %s rests: %s %s", self._key_name, verdict.code, verdict.message)
            return self._hand_back(queue, taken, grant, refund=verdict.kind is VerdictKind.UNREACHABLE)
        return self._fail(queue, taken, verdict, answer)

    def _fail(self, queue: str, taken: Taken, verdict: Verdict, answer: Answer | None) -> str:
        status = answer.status if answer else None
        error = AttemptError(status, verdict.code, verdict.message, self._key_name, time.time())
        attempts = (*taken.attempts, error)
        if verdict.kind is not VerdictKind.FINAL:
            decision = decide(attempts, taken.options, jitter=random.random(), asked_ms=verdict.wait_ms)
            if not isinstance(decision, GiveUp):
                self._delivery.put(queue, Retry(taken.key, taken.token, decision.delay_ms, attempts))
                return "retried"
        outcome = Outcome(
            id=taken.key,
            ok=False,
            status=status,
            body=answer.body if answer and verdict.document is not None else None,
            attempts=len(attempts),
            errors=attempts,
            key_name=self._key_name,
            request_id=answer.headers.get("x-request-id") if answer else None,
            finished_s=time.time(),
        )
        self._delivery.put(queue, Finish(taken.key, taken.token, outcome), taken.record)
        return "failed"

    def _success(self, taken: Taken, verdict: Verdict, answer: Answer | None) -> Outcome:
        if answer is None:
            raise ValueError("a success needs an answer")
        return Outcome(
            id=taken.key,
            ok=True,
            status=answer.status,
            body=answer.body,
            attempts=len(taken.attempts) + 1,
            errors=taken.attempts,
            key_name=self._key_name,
            request_id=answer.headers.get("x-request-id"),
            tokens=_tokens_used(verdict.document) or taken.cost_tokens,
            finished_s=time.time(),
        )


def _admitted_s(answer: Answer) -> float:
    """When the provider admitted a call, at the latest: it may have queued before the provider's clock for it began.

    OpenAI's `openai-processing-ms` is the time from then to the answer; without it, the call counts as written.
    """
    try:
        processing_s = float(answer.headers.get("openai-processing-ms", "inf")) / 1000
    except ValueError:
        return answer.written_s
    return max(answer.written_s, answer.finished_s - processing_s)


def _tokens_used(document: Any) -> int | None:
    """The usage that an answer reports: `usage.total_tokens` in all of OpenAI's answers; None where it has none."""
    usage = document.get("usage") if isinstance(document, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total >= 0 else None
