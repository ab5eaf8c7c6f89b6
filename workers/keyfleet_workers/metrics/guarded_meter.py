"""Keeps the troubles of a meter from the calls that it counts: what is paid for is delivered, counted or not."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from keyfleet.errors import ConfigurationError
from keyfleet.ledger import Reaped
from keyfleet_workers.metrics.meter import NO_METER, Meter, Standing

__all__ = ["GuardedMeter"]

logger = logging.getLogger(__name__)


class GuardedMeter(Meter):
    """Tells `meter` everything until it raises. Then that is logged once, and nothing is counted any more.

    Only `began` raises, and only ConfigurationError: an address that can't be had is for its user to mend.
    """

    def __init__(self, meter: Meter) -> None:
        self._begun = meter
        self._meter = meter

    def began(self, worker_id: str) -> None:
        try:
            self._begun.began(worker_id)
        except ConfigurationError:
            raise
        except Exception:
            self._give_up()

    def ends(self) -> None:
        """Said to a meter that counts no more too: it still shows the worker as one that serves its key."""
        try:
            self._begun.ends()
        except Exception:
            self._give_up()

    def called(self, queue: str, result: str, took_s: float, reported_tokens: int, reserved_tokens: int) -> None:
        try:
            self._meter.called(queue, result, took_s, reported_tokens, reserved_tokens)
        except Exception:
            self._give_up()

    def ended(self, queue: str, how: str, requests: int, ages_s: Sequence[float] = ()) -> None:
        try:
            self._meter.ended(queue, how, requests, ages_s)
        except Exception:
            self._give_up()

    def ticket(self, queue: str, what: str, count: int = 1) -> None:
        try:
            self._meter.ticket(queue, what, count)
        except Exception:
            self._give_up()

    def reaped(self, queue: str, found: Reaped) -> None:
        try:
            self._meter.reaped(queue, found)
        except Exception:
            self._give_up()

    def stand(self, standing: Standing) -> None:
        try:
            self._meter.stand(standing)
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        given_up, self._meter = self._meter, NO_METER
        if given_up is not NO_METER:
            logger.warning("this worker's metrics stand still from now on: they can't be written", exc_info=True)
