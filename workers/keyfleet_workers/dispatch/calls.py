"""One call: the last checks, the call itself, and what becomes of its answer."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from collections import Counter
from dataclasses import replace

from keyfleet.clock import elapsed_s
from keyfleet.ledger import Finish, Retry, Taken
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.charges import Charges
from keyfleet_workers.dispatch.chunk_counts import ChunkCounts
from keyfleet_workers.dispatch.delivery import Delivery, HandBack
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.key_health import KeyHealth
from keyfleet_workers.dispatch.outcomes import error_of, failure, success, tokens_used, without_secrets
from keyfleet_workers.dispatch.repeated_text import without_request
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.taker import Grant
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.output_means import OutputMeans
from keyfleet_workers.provider import (
    Answer,
    CallFailed,
    ProviderClient,
    SaidLimit,
    Verdict,
    VerdictKind,
    classify,
    classify_failure,
    limit_reports,
)
from keyfleet_workers.provider.verdict import CallFailure
from keyfleet_workers.retry_policy import GiveUp, decide

__all__ = ["CallRunner"]

logger = logging.getLogger(__name__)

_BACK_AT_ONCE = frozenset(
    {VerdictKind.RATE_LIMITED, VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED, VerdictKind.UNREACHABLE}
)
"""What speaks of the key, its account or the way there: the request goes back and spends no attempt."""

_MAY_BE_RETRIED = frozenset(
    {VerdictKind.RETRYABLE, VerdictKind.TIMED_OUT, VerdictKind.UNREACHABLE, VerdictKind.RATE_LIMITED}
)

MINUTE_S = 60


class CallRunner:
    """Runs calls of one key. Every call ends in exactly one result that is handed to `delivery`."""

    def __init__(
        self,
        *,
        binding: KeyBinding,
        client: ProviderClient,
        delivery: Delivery,
        held: HeldRequests,
        slots: CallSlots,
        charges: Charges,
        health: KeyHealth,
        learner: LimitLearner,
        outputs: OutputMeans,
    ) -> None:
        self._binding = binding
        self._key_name = binding.name
        self._via_proxy = binding.proxy_url is not None
        self._client = client
        self._delivery = delivery
        self._held = held
        self._slots = slots
        self._charges = charges
        self._learner = learner
        self._outputs = outputs
        self.health = health
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
            how = self._hand_back(queue, taken)
        finally:
            self._end(queue, taken, counts, how)

    def give_back(self, queue: str, taken: Taken, grant: Grant, counts: ChunkCounts) -> None:
        """What `run` does with a request that is not to be sent, for one that no thread will run."""
        self._charges.refund(grant, taken)
        self._end(queue, taken, counts, self._hand_back(queue, taken))

    def count(self, how: str) -> None:
        """One more request ended in this way."""
        with self._totals_lock:
            self.totals[how] += 1

    def _end(self, queue: str, taken: Taken, counts: ChunkCounts, how: str) -> None:
        self._held.drop(queue, taken.key, taken.token)
        self._slots.release()
        self.count(how)
        counts.end(how)

    def _run(self, queue: str, taken: Taken, grant: Grant) -> str:
        looked_s = elapsed_s()
        sent_on = self._last_checks(queue, taken, grant)
        if sent_on is None:
            self._charges.refund(grant, taken)
            return self._hand_back(queue, taken)
        began_s = elapsed_s()
        verdict, answer = self._call(taken, sent_on, began_s)
        told = verdict  # its words are logged, and shared among hosts
        if verdict.kind is not VerdictKind.SUCCESS:
            told = replace(verdict, message=without_request(verdict.message, taken.body))
        self.health.note(told, sent_on, looked_s, taken.key if answer is not None else None)
        return self._conclude(queue, taken, verdict, answer)

    def _last_checks(self, queue: str, taken: Taken, grant: Grant) -> Grant | None:
        """The grant to send on, if the request may be sent: the lease stands, and the charge stands at about now.

        What was taken before the provider's failures led to a pause is not sent after it: all of it would fail.
        """
        if self.stopping.is_set() or self.health.trouble.has_paused_since(grant.asked_s):
            return None
        if not self._held.stands(queue, taken.key, taken.token):
            return None
        moved = self._charges.move_to_now(grant, taken)
        # Moving it may have taken a while.
        return moved if moved is grant or self._held.stands(queue, taken.key, taken.token) else None

    def _call(self, taken: Taken, grant: Grant, began_s: float) -> tuple[Verdict, Answer | None]:
        read_timeout_s = self._binding.config.timeout_s or taken.options.timeout_s
        try:
            alias = self._binding.alias(taken.model)
            answer = self._client.post(taken.endpoint, taken.body, read_timeout_s=read_timeout_s, model=alias)
        except CallFailed as error:
            verdict = classify_failure(error.failure, str(error))
            self._settle(grant, taken, error.written_s or began_s, verdict)
            return verdict, None
        self._slots.note_latency(answer.finished_s - began_s)
        now_s = time.time()
        verdict = self._classify(answer, now_s)
        is_error = verdict.kind is not VerdictKind.SUCCESS  # whatever its status: an error may repeat the key
        answer = without_secrets(answer, self._binding, is_error=is_error)
        if is_error:
            verdict = self._classify(answer, now_s)
        verdict = self._with_limit(verdict, taken)
        reports = limit_reports(self._binding.provider, answer.headers, now_s=now_s)
        self._learner.note(grant.quota, reports, is_success=not is_error)
        self._charges.correct(grant, reports)
        self._settle(grant, taken, _admitted_s(answer), verdict)
        return verdict, answer

    def _classify(self, answer: Answer, now_s: float) -> Verdict:
        return classify(
            self._binding.provider,
            answer.status,
            answer.headers,
            answer.body,
            now_s=now_s,
            via_proxy=self._via_proxy,
            is_plain=self._binding.is_plain,
        )

    def _with_limit(self, verdict: Verdict, taken: Taken) -> Verdict:
        """Azure says that a request will never fit, and not what would: anything smaller may."""
        is_unnamed = verdict.kind is VerdictKind.TOO_LARGE and verdict.limit is None
        if not is_unnamed or self._binding.provider != "azure" or taken.cost_tokens < 2:
            return verdict
        return replace(verdict, limit=SaidLimit("tokens", taken.cost_tokens - 1, MINUTE_S, None))

    def _settle(self, grant: Grant, taken: Taken, used_s: float, verdict: Verdict) -> None:
        was_never_sent = verdict.code == CallFailure.INVALID_ENDPOINT.value
        if verdict.document is None and (was_never_sent or verdict.kind is VerdictKind.UNREACHABLE):
            self._charges.refund(grant, taken)  # whoever answered, if anyone did, it was not the provider
            return
        self._charges.settle(grant, taken, used_s, tokens_used(verdict.document))
        self._charges.charge_learned(grant, taken, used_s)
        if verdict.kind is VerdictKind.SUCCESS:
            self._outputs.note(taken.model, verdict.document)

    def _conclude(self, queue: str, taken: Taken, verdict: Verdict, answer: Answer | None) -> str:
        kind = verdict.kind
        if kind is VerdictKind.SUCCESS and answer is not None:
            outcome = success(taken, verdict, answer, self._key_name)
            self._delivery.put(queue, Finish(taken.key, "", outcome), taken.record)
            return "succeeded"
        if kind is VerdictKind.UNREACHABLE and answer is not None:
            return self._pass_over(queue, taken, verdict, answer)
        if kind is VerdictKind.RATE_LIMITED and self.health.limited.is_to_blame(taken.key):
            return self._fail(queue, taken, verdict, answer)
        if kind in _BACK_AT_ONCE or (kind is VerdictKind.MODEL_LOST and self.health.leaves_model(queue)):
            self._hand_back(queue, taken)
            return str(kind.value)
        if kind is VerdictKind.TOO_LARGE and verdict.limit is not None:
            self._hand_back(queue, taken, verdict.limit.requested if verdict.limit.unit == "tokens" else None)
            return "too_large"
        return self._fail(queue, taken, verdict, answer)

    def _hand_back(self, queue: str, taken: Taken, cost_tokens: int | None = None) -> str:
        self._delivery.put(queue, HandBack(taken.key, taken.token, cost_tokens))
        return "handed_back"

    def _pass_over(self, queue: str, taken: Taken, verdict: Verdict, answer: Answer) -> str:
        """Something on the way refused it: another request shows whether it refuses all of them."""
        if self.health.refused.is_to_blame(taken.key):
            return self._fail(queue, taken, verdict, answer)
        delay_ms = self.health.trouble.passed_over_ms
        self._delivery.put(queue, Retry(taken.key, taken.token, delay_ms, taken.attempts))
        return "unreachable"

    def _fail(self, queue: str, taken: Taken, verdict: Verdict, answer: Answer | None) -> str:
        attempts = (*taken.attempts, error_of(verdict, answer, self._key_name))
        if verdict.kind in _MAY_BE_RETRIED:
            decision = decide(attempts, taken.options, jitter=random.random(), asked_ms=verdict.wait_ms)
            if not isinstance(decision, GiveUp):
                delay_ms = max(decision.delay_ms, self.health.trouble.least_delay_ms)
                self._delivery.put(queue, Retry(taken.key, taken.token, delay_ms, attempts))
                return "retried"
        outcome = failure(taken, attempts, verdict, answer, self._key_name)
        self._delivery.put(queue, Finish(taken.key, taken.token, outcome), taken.record)
        return "failed"


def _admitted_s(answer: Answer) -> float:
    """When the provider admitted a call, at the latest: it may have queued before the provider's clock for it began.

    OpenAI's `openai-processing-ms` is the time from then to the answer; without it, the call counts as written.
    """
    try:
        processing_s = float(answer.headers.get("openai-processing-ms", "inf")) / 1000
    except ValueError:
        return answer.written_s
    return max(answer.written_s, answer.finished_s - processing_s)
