"""What becomes of the requests of a call once it is known what came of it."""

from __future__ import annotations

import logging
import random
from collections import Counter
from dataclasses import replace

from keyfleet.contract import Cost
from keyfleet.ledger import Finish, Retry, Taken
from keyfleet_workers.dispatch.answer_parts import AnswerMisfit, Part
from keyfleet_workers.dispatch.delivery import Delivery, HandBack
from keyfleet_workers.dispatch.key_health import KeyHealth
from keyfleet_workers.dispatch.outcomes import broken_off, error_of, failure, stopped, success, tokens_used
from keyfleet_workers.dispatch.packs import Pack, SharedCall, smaller_pack
from keyfleet_workers.provider import Answer, SaidLimit, Verdict, VerdictKind
from keyfleet_workers.retry_policy import GiveUp, backoff_ms, decide

__all__ = ["Conclusions"]

logger = logging.getLogger(__name__)

MOST_REFUSED = 3
"""So often in a row a shared call may be rate limited before its requests are split over smaller ones."""

_BACK_AT_ONCE = frozenset(
    {VerdictKind.RATE_LIMITED, VerdictKind.OUT_OF_CREDIT, VerdictKind.REVOKED, VerdictKind.UNREACHABLE}
)
"""What speaks of the key, its account or the way there: the request goes back and spends no attempt."""

_MAY_BE_RETRIED = frozenset(
    {VerdictKind.RETRYABLE, VerdictKind.TIMED_OUT, VerdictKind.UNREACHABLE, VerdictKind.RATE_LIMITED}
)

_SPENDS_AN_ATTEMPT = frozenset({VerdictKind.RETRYABLE, VerdictKind.TIMED_OUT})


class Conclusions:
    """Ends the requests of one key's calls, or sends them back.

    An error of a shared call ends none of its requests: any of them may be what it speaks of. They are split over
    smaller calls, until who met the error meets it alone.
    """

    def __init__(self, delivery: Delivery, health: KeyHealth, key_name: str) -> None:
        self._delivery = delivery
        self._health = health
        self._key_name = key_name
        self._refused: Counter[str] = Counter()
        self._misfits: set[str] = set()

    def conclude(
        self, queue: str, pack: Pack, verdict: Verdict, answer: Answer | None, shared: SharedCall | None
    ) -> str:
        """Deliver what came of a call, which was `shared` where the pack is; returns in a word what became of it."""
        kind = verdict.kind
        if kind is VerdictKind.SUCCESS and answer is not None:
            return self._succeed(queue, pack, verdict, answer, shared)
        if kind is VerdictKind.UNREACHABLE and answer is not None:
            return self._pass_over(queue, pack, verdict, answer)
        if kind is VerdictKind.RATE_LIMITED and self._health.limited.is_to_blame(pack.first.key):
            return self._fail(queue, pack, verdict, answer)
        if kind is VerdictKind.RATE_LIMITED and pack.is_shared and self._is_refused_again(queue):
            return self._split(queue, pack)
        if kind in _BACK_AT_ONCE or (kind is VerdictKind.MODEL_LOST and self._health.leaves_model(queue)):
            self.hand_back(queue, pack)
            return str(kind.value)
        if kind is VerdictKind.TOO_LARGE and verdict.limit is not None and not pack.is_shared:
            self._delivery.put(queue, HandBack(pack.first.key, pack.first.token, _said_cost(pack.first, verdict.limit)))
            return "too_large"
        return self._fail(queue, pack, verdict, answer)

    def shares(self, queue: str) -> bool:
        """Whether answers to several requests of `queue` can be told apart here, as far as is known."""
        return queue not in self._misfits

    def hand_back(self, queue: str, pack: Pack) -> str:
        """All of them go back as they are."""
        for taken in pack.members:
            self._delivery.put(queue, HandBack(taken.key, taken.token))
        return "handed_back"

    def send_alone(self, queue: str, pack: Pack) -> str:
        """From now on each of them is sent alone."""
        for taken in pack.members:
            self._delivery.put(queue, HandBack(taken.key, taken.token, pack=""))
        return "split"

    def stop(self, queue: str, pack: Pack) -> str:
        """The call was stopped, since nobody waits for it."""
        for taken in pack.members:
            self._delivery.put(queue, Finish(taken.key, taken.token, stopped(taken)), taken.record)
        return "stopped"

    def end_stream(self, queue: str, pack: Pack, verdict: Verdict, answer: Answer | None, pieces: int) -> str:
        """An answer that came in `pieces` is over. It isn't asked for again: its caller has had a part of it."""
        taken = pack.first
        if verdict.kind is VerdictKind.SUCCESS and answer is not None:
            part = Part(b"", tokens_used(verdict.document))
            whole = replace(success(taken, part, answer, self._key_name), pieces=pieces)
            self._delivery.put(queue, Finish(taken.key, "", whole), taken.record)
            return "succeeded"
        attempts = (*taken.attempts, broken_off(verdict, answer, self._key_name))
        outcome = failure(taken, attempts, verdict, None, self._key_name)
        self._delivery.put(queue, Finish(taken.key, taken.token, outcome), taken.record)
        return "failed"

    def _succeed(self, queue: str, pack: Pack, verdict: Verdict, answer: Answer, shared: SharedCall | None) -> str:
        try:
            alone = Part(answer.body, tokens_used(verdict.document))
            parts = shared.parts_of(answer.body) if shared else iter([alone])
        except AnswerMisfit as error:
            logger.warning("an answer to %d requests can't be told apart: %s", len(pack.members), error)
            self._misfits.add(queue)  # a smaller call's couldn't be either, and each is paid for
            return self.send_alone(queue, pack)
        del self._refused[queue]
        for taken, part in zip(pack.members, parts, strict=True):
            outcome = success(taken, part, answer, self._key_name)
            self._delivery.put(queue, Finish(taken.key, "", outcome), taken.record)
        return "succeeded"

    def _is_refused_again(self, queue: str) -> bool:
        """Whether calls that requests of `queue` share have been refused time and again: they may be too large for a
        limit that the provider doesn't name."""
        self._refused[queue] += 1
        if self._refused[queue] < MOST_REFUSED:
            return False
        del self._refused[queue]
        return True

    def _pass_over(self, queue: str, pack: Pack, verdict: Verdict, answer: Answer) -> str:
        """Something on the way refused it: another request shows whether it refuses all of them."""
        if self._health.refused.is_to_blame(pack.first.key):
            return self._fail(queue, pack, verdict, answer)
        delay_ms = self._health.trouble.passed_over_ms
        for taken in pack.members:
            self._delivery.put(queue, Retry(taken.key, taken.token, delay_ms, taken.attempts))
        return "unreachable"

    def _fail(self, queue: str, pack: Pack, verdict: Verdict, answer: Answer | None) -> str:
        if pack.is_shared:
            spends = verdict.kind in _SPENDS_AN_ATTEMPT
            return self._retry_split(queue, pack, verdict, answer) if spends else self._split(queue, pack)
        taken = pack.first
        attempts = (*taken.attempts, error_of(verdict, answer, self._key_name))
        if verdict.kind in _MAY_BE_RETRIED:
            decision = decide(attempts, taken.options, jitter=random.random(), asked_ms=verdict.wait_ms)
            if not isinstance(decision, GiveUp):
                delay_ms = max(decision.delay_ms, self._health.trouble.least_delay_ms)
                self._delivery.put(queue, Retry(taken.key, taken.token, delay_ms, attempts))
                return "retried"
        outcome = failure(taken, attempts, verdict, answer, self._key_name)
        self._delivery.put(queue, Finish(taken.key, taken.token, outcome), taken.record)
        return "failed"

    def _split(self, queue: str, pack: Pack) -> str:
        for taken in pack.members:
            self._delivery.put(queue, HandBack(taken.key, taken.token, pack=smaller_pack(taken, len(pack.members))))
        return "split"

    def _retry_split(self, queue: str, pack: Pack, verdict: Verdict, answer: Answer | None) -> str:
        """They wait as one that failed alone does, and spend an attempt; but the last attempt is each one's own."""
        jitter, error = random.random(), error_of(verdict, answer, self._key_name)
        for taken in pack.members:
            attempts, then = (*taken.attempts, error), smaller_pack(taken, len(pack.members))
            decision = decide(attempts, taken.options, jitter=jitter, asked_ms=verdict.wait_ms)
            if isinstance(decision, GiveUp):
                delay_ms, attempts, then = backoff_ms(len(attempts), jitter, verdict.wait_ms), taken.attempts, ""
            else:
                delay_ms = decision.delay_ms
            delay_ms = max(delay_ms, self._health.trouble.least_delay_ms)
            self._delivery.put(queue, Retry(taken.key, taken.token, delay_ms, attempts, then))
        return "retried"


def _said_cost(taken: Taken, said: SaidLimit) -> Cost | None:
    """What a request costs by its provider's count, where the refusal tells."""
    if said.requested is None or said.unit == "requests":
        return None
    return replace(taken.cost, **{said.unit: said.requested})
