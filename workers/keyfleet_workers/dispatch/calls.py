"""One call: the last checks, the call itself, and what becomes of its answer."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from keyfleet.clock import elapsed_s
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.charges import Charges
from keyfleet_workers.dispatch.chunk_counts import ChunkCounts
from keyfleet_workers.dispatch.conclusions import Conclusions
from keyfleet_workers.dispatch.delivery import Delivery
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.in_flight import CallsInFlight
from keyfleet_workers.dispatch.key_health import KeyHealth
from keyfleet_workers.dispatch.outcomes import tokens_used, without_secrets
from keyfleet_workers.dispatch.packs import Pack, SharedCall, UnlikeRequests
from keyfleet_workers.dispatch.repeated_text import without_request
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.streamed_calls import StreamedCalls
from keyfleet_workers.dispatch.taker import Grant
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.metrics import NO_METER, Meter
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
from keyfleet_workers.provider.ongoing_call import OngoingCall
from keyfleet_workers.provider.verdict import CallFailure

__all__ = ["CallRunner"]

logger = logging.getLogger(__name__)

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
        streamed: StreamedCalls,
        meter: Meter = NO_METER,
    ) -> None:
        self._binding = binding
        self._via_proxy = binding.proxy_url is not None
        self._client = client
        self._conclusions = Conclusions(delivery, health, binding.name)
        self.shares = self._conclusions.shares
        self._held = held
        self._slots = slots
        self._charges = charges
        self._learner = learner
        self._outputs = outputs
        self._streamed = streamed
        self._meter = meter
        self.in_flight = CallsInFlight()
        self.health = health
        self.stopping = threading.Event()
        self.totals: Counter[str] = Counter()
        """Requests by how they ended."""
        self.errors: Counter[str] = Counter()
        """Calls that brought no answer to use, by the kind of error."""
        self.sent = 0
        """Calls that a provider was asked for."""
        self.tokens = 0
        """Tokens that answers report."""
        self._totals_lock = threading.Lock()

    def run(self, queue: str, pack: Pack, grant: Grant, counts: ChunkCounts) -> None:
        """Call, and deliver what came of it. Never raises."""
        how = "failed"
        try:
            how = self._run(queue, pack, grant, counts)
        except Exception as error:
            # Without the error's own words, which may hold a proxy's password or a part of the request.
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error(
                "a call broke on %s (%s); its request goes back\n%s", self._binding.name, type(error).__name__, where
            )
            how = self._conclusions.hand_back(queue, pack)
        finally:
            self._end(queue, pack, grant, counts, how)

    def give_back(self, queue: str, pack: Pack, grant: Grant, counts: ChunkCounts) -> None:
        """What `run` does with requests that are not to be sent, for those that no thread will run."""
        self._charges.refund(grant, pack)
        self._end(queue, pack, grant, counts, self._conclusions.hand_back(queue, pack))

    def count(self, how: str, requests: int = 1) -> None:
        """So many more requests ended in this way."""
        with self._totals_lock:
            self.totals[how] += requests

    def _end(self, queue: str, pack: Pack, grant: Grant, counts: ChunkCounts, how: str) -> None:
        for taken in pack.members:
            self._held.drop(queue, taken.key, taken.token)
        self._slots.release()
        self.count(how, 1 if how == VerdictKind.RATE_LIMITED.value else len(pack.members))  # of these calls count
        counts.end(how, len(pack.members), pack.first.key)
        self._meter.ended(queue, how, len(pack.members), grant.ages_s(pack.members))

    def _run(self, queue: str, pack: Pack, grant: Grant, counts: ChunkCounts) -> str:
        looked_s = elapsed_s()
        try:
            shared = SharedCall.of(pack) if pack.is_shared else None
        except UnlikeRequests as error:
            logger.warning("%d requests can't share a call: %s", len(pack.members), error)
            self._charges.refund(grant, pack)
            return self._conclusions.send_alone(queue, pack)
        sent_on = self._last_checks(queue, pack, grant)
        if sent_on is None:
            self._charges.refund(grant, pack)
            return self._conclusions.hand_back(queue, pack)
        body = shared.body if shared else pack.first.body
        with self.in_flight.of(queue, pack.first.key) as ongoing:
            verdict, answer = self._call(queue, pack, body, sent_on, ongoing, counts)
        if ongoing.is_stopped and verdict.kind is not VerdictKind.SUCCESS:
            return self._conclusions.stop(queue, pack)
        if shared:
            verdict = replace(verdict, document=shared.without_answers(verdict.document))
        told = verdict  # its words are logged, and shared among hosts
        if verdict.kind is not VerdictKind.SUCCESS:
            told = replace(verdict, message=without_request(verdict.message, body))
        self.health.note(told, sent_on, looked_s, pack.first.key if answer is not None else None)
        if ongoing.has_begun:
            return self._conclusions.end_stream(queue, pack, verdict, answer, ongoing.pieces)
        # Nor does one request's error show what another one says.
        return self._conclusions.conclude(queue, pack, told if shared else verdict, answer, shared)

    def _last_checks(self, queue: str, pack: Pack, grant: Grant) -> Grant | None:
        """The grant to send on, if the call may be sent: the leases stand, and the charge stands at about now.

        What was taken before the provider's failures led to a pause is not sent after it: all of it would fail.
        """
        if self.stopping.is_set() or self.health.trouble.has_paused_since(grant.asked_s):
            return None
        if not self._all_stand(queue, pack):
            return None
        moved = self._charges.move_to_now(grant, pack)
        # Moving it may have taken a while.
        return moved if moved is grant or self._all_stand(queue, pack) else None

    def _all_stand(self, queue: str, pack: Pack) -> bool:
        return all(self._held.stands(queue, taken.key, taken.token) for taken in pack.members)

    def _call(
        self, queue: str, pack: Pack, body: bytes, grant: Grant, ongoing: OngoingCall, counts: ChunkCounts
    ) -> tuple[Verdict, Answer | None]:
        began_s = elapsed_s()
        try:
            answer = self._send(
                queue, pack, body, ongoing, lambda head: self._note_beginning(pack, grant, counts, head)
            )
        except CallFailed as error:
            verdict = classify_failure(error.failure, str(error))
            self._count_call(queue, pack, verdict, elapsed_s() - began_s, counts)
            self._settle(grant, pack, error.written_s or began_s, verdict, has_begun=ongoing.has_begun)
            return verdict, None
        self._slots.note_latency(answer.finished_s - began_s)
        now_s = time.time()
        verdict = self._classify(answer, now_s)
        is_error = verdict.kind is not VerdictKind.SUCCESS  # whatever its status: an error may repeat the key
        answer = without_secrets(answer, self._binding, is_error=is_error)
        if is_error:
            verdict = self._classify(answer, now_s)
        verdict = self._with_limit(verdict, pack)
        if not ongoing.has_begun:
            self._note_limits(grant, answer, now_s, is_success=not is_error)
        self._count_call(queue, pack, verdict, answer.finished_s - began_s, counts)
        self._settle(grant, pack, _admitted_s(answer), verdict, has_begun=ongoing.has_begun)
        return verdict, answer

    def _count_call(self, queue: str, pack: Pack, verdict: Verdict, took_s: float, counts: ChunkCounts) -> None:
        tokens = tokens_used(verdict.document) or 0
        with self._totals_lock:
            self.sent += 1
            self.tokens += tokens
            if verdict.kind is not VerdictKind.SUCCESS:
                self.errors[verdict.kind.value] += 1
        counts.add_call(tokens, took_s)
        self._meter.called(queue, verdict.kind.value, took_s, tokens, pack.cost.tokens)

    def _note_limits(self, grant: Grant, answer: Answer, now_s: float, *, is_success: bool) -> None:
        reports = limit_reports(self._binding.provider, answer.headers, now_s=now_s)
        self._learner.note(grant.quota, reports, is_success=is_success)
        self._charges.correct(grant, reports)

    def _note_beginning(self, pack: Pack, grant: Grant, counts: ChunkCounts, head: Answer) -> None:
        """What others wait for is told by the head of a streamed answer, which may last for minutes."""
        self._note_limits(grant, head, time.time(), is_success=True)
        self._charges.charge_learned(grant, pack, _admitted_s(head))
        self.health.trouble.note_answer()
        counts.note_beginning(pack.first.key)

    def _send(
        self, queue: str, pack: Pack, body: bytes, ongoing: OngoingCall, on_begun: Callable[[Answer], None]
    ) -> Answer:
        read_timeout_s = self._binding.config.timeout_s or pack.options.timeout_s
        if pack.first.streams:
            return self._streamed.call(queue, pack.first, read_timeout_s, ongoing, on_begun)
        alias = self._binding.alias(pack.model)
        return self._client.post(
            pack.endpoint, body, read_timeout_s=read_timeout_s, model=alias, ongoing=None if pack.is_shared else ongoing
        )

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

    def _with_limit(self, verdict: Verdict, pack: Pack) -> Verdict:
        """Azure says that a request will never fit, and not what would: anything smaller may."""
        is_unnamed = verdict.kind is VerdictKind.TOO_LARGE and verdict.limit is None
        if not is_unnamed or self._binding.provider != "azure" or pack.cost.tokens < 2:
            return verdict
        return replace(verdict, limit=SaidLimit("tokens", pack.cost.tokens - 1, MINUTE_S, None))

    def _settle(self, grant: Grant, pack: Pack, used_s: float, verdict: Verdict, *, has_begun: bool) -> None:
        was_never_sent = verdict.code == CallFailure.INVALID_ENDPOINT.value
        if verdict.document is None and (was_never_sent or verdict.kind is VerdictKind.UNREACHABLE):
            self._charges.refund(grant, pack)  # whoever answered, if anyone did, it was not the provider
            return
        self._charges.settle(grant, pack, used_s, tokens_used(verdict.document))
        if not has_begun:
            self._charges.charge_learned(grant, pack, used_s)
        if verdict.kind is VerdictKind.SUCCESS:
            self._outputs.note(pack.model, verdict.document)


def _admitted_s(answer: Answer) -> float:
    """When the provider admitted a call, at the latest: it may have queued before the provider's clock for it began.

    OpenAI's `openai-processing-ms` is the time from then to the answer, or to the beginning of one that is streamed;
    without it, the call counts as written.
    """
    came_s = answer.finished_s if answer.begun_s is None else answer.begun_s
    try:
        processing_s = float(answer.headers.get("openai-processing-ms", "inf")) / 1000
    except ValueError:
        return answer.written_s
    return max(answer.written_s, came_s - processing_s)
