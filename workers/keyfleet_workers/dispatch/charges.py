"""What calls are charged in the windows of their quota: moved, settled, refunded, and corrected by the provider."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import redis

from keyfleet.clock import elapsed_s
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.delivery import Correct, Delivery, Settle
from keyfleet_workers.dispatch.packs import Pack
from keyfleet_workers.dispatch.taker import Grant
from keyfleet_workers.limiter import Correction, ExactRedisStorage, QuotaLimit, Settlement
from keyfleet_workers.provider import LimitReport

__all__ = ["Charges"]

logger = logging.getLogger(__name__)

GRAVE_SHARE = 0.1
"""A difference of more than this share of a limit is no matter of the order in which calls arrive."""


class Charges:
    """The charges of one key's calls."""

    def __init__(self, binding: KeyBinding, storage: ExactRedisStorage, delivery: Delivery) -> None:
        self._binding = binding
        self._storage = storage
        self._delivery = delivery

    def move_to_now(self, grant: Grant, pack: Pack) -> Grant | None:
        """The grant, moved forward where it has aged, so that it can't leave its window before the provider's does.

        None where it is too old, or the server can't be asked: then the call must not be sent.
        """
        age_s = elapsed_s() - grant.asked_s
        if age_s < grant.quota.guard_s() / 2:
            return grant
        if age_s > grant.quota.shortest_window_s() / 2:
            return None
        now_s = elapsed_s()
        try:
            self._storage.settle(grant.quota.limits, [_settlement(grant, pack, now_s, 0)])
        except redis.RedisError:
            return None
        return replace(grant, granted_ms=grant.server_ms(now_s), asked_s=now_s)

    def settle(self, grant: Grant, pack: Pack, used_s: float, tokens: int | None) -> None:
        """Correct a reservation that was used late, or for another number of tokens than was reserved.

        Less is refunded only where the provider does so too: most charge the maximum at admission. Images are as many
        as were asked for, and count also where none was made (OpenAI: https://help.openai.com/en/articles/6696591).
        """
        delta_tokens = 0 if tokens is None else tokens - pack.cost.tokens
        if delta_tokens < 0 and not self._binding.refunds:
            delta_tokens = 0
        is_late = used_s - grant.asked_s > grant.quota.guard_s() / 2
        if grant.quota.limits and (is_late or delta_tokens):
            self._delivery.put("", Settle(grant.quota.limits, _settlement(grant, pack, used_s, delta_tokens)))

    def charge_learned(self, grant: Grant, pack: Pack, used_s: float) -> None:
        """Charge a call to limits that were learned after it was granted."""
        known = {limit.key for limit in grant.quota.limits}
        learned = tuple(limit for limit in self._binding.quota(pack.model).limits if limit.key not in known)
        if learned:
            costs = tuple(limit.cost(pack.cost) for limit in learned)
            settlement = Settlement(None, grant.server_ms(used_s), (0,) * len(costs), costs)
            self._charge_now(learned, settlement)

    def _charge_now(self, limits: tuple[QuotaLimit, ...], settlement: Settlement) -> None:
        """Before this worker is granted anything on these limits, which follows at once."""
        try:
            self._storage.settle(limits, [settlement])
        except redis.RedisError:
            self._delivery.put("", Settle(limits, settlement))

    def refund(self, grant: Grant, pack: Pack) -> None:
        """Give back what a call that was never sent has reserved."""
        if grant.quota.limits:
            reserved = grant.quota.costs(pack.cost)
            nothing_used = Settlement(grant.granted_ms, grant.granted_ms, reserved, tuple(-cost for cost in reserved))
            self._delivery.put("", Settle(grant.quota.limits, nothing_used))

    def correct(self, grant: Grant, reports: Sequence[LimitReport]) -> None:
        """Take over what the provider says is left, where others have used the account too, or have stopped to."""
        found: dict[int, Correction] = {}
        for report in reports:
            index = _limit_of(report, grant.quota.limits)
            if index is None or report.remaining is None or index >= len(grant.left):
                continue
            if report.remaining < grant.left[index] or grant.foreign[index]:
                reset_ms = _reset_ms(report, grant.quota.limits[index])
                found[index] = Correction(grant.granted_ms, grant.left[index], report.remaining, reset_ms)
        if not found:
            return
        limits, corrections = tuple(grant.quota.limits[index] for index in found), tuple(found.values())
        if any(_is_grave(grant, index, correction) for index, correction in found.items()):
            try:
                self._storage.correct(limits, corrections)
                return
            except redis.RedisError:
                logger.info("a correction waits for the broker")
        self._delivery.put("", Correct(limits, corrections))


def _reset_ms(report: LimitReport, limit: QuotaLimit) -> int | None:
    """When all is left again: of a limit with another window than ours, at the latest once its own window is over."""
    if report.reset_ms is None and report.window_s * 1000 != limit.window_ms:
        return report.window_s * 1000
    return report.reset_ms


def _is_grave(grant: Grant, index: int, correction: Correction) -> bool:
    """Whether others are seen to use much of a limit that nobody else was known to use: before the next grant."""
    missing = correction.left - (correction.remaining or 0)
    return not grant.foreign[index] and missing > GRAVE_SHARE * grant.quota.limits[index].amount


def _settlement(grant: Grant, pack: Pack, used_s: float, delta_tokens: int) -> Settlement:
    reserved = grant.quota.costs(pack.cost)
    deltas = tuple(delta_tokens if limit.unit == "tokens" else 0 for limit in grant.quota.limits)
    return Settlement(grant.granted_ms, grant.server_ms(used_s), reserved, deltas)


def _limit_of(report: LimitReport, limits: Sequence[QuotaLimit]) -> int | None:
    """The limit that a report speaks of: of its unit the only one, else the innermost of its window; None for none."""
    of_unit = [index for index, limit in enumerate(limits) if limit.unit == report.unit]
    if len(of_unit) <= 1:
        return of_unit[0] if of_unit else None
    of_window = [index for index in of_unit if limits[index].window_ms == report.window_s * 1000]
    return of_window[-1] if of_window else None
