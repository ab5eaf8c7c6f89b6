"""Renews the leases of what the worker holds, however long the calls last."""

from __future__ import annotations

import logging
import threading

import redis

from keyfleet.clock import elapsed_s
from keyfleet.ledger import Transitions
from keyfleet_workers.dispatch.held import HeldRequests

__all__ = ["LeaseKeeper"]

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """A thread that renews every lease three times in its life. One that passed on is dropped, so it isn't started."""

    def __init__(self, transitions: Transitions, held: HeldRequests, lease_s: float) -> None:
        self._transitions = transitions
        self._held = held
        self._interval_s = lease_s / 3
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keyfleet-leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self.renew()
            except redis.RedisError as error:
                logger.warning("leases can't be renewed now (%s)", type(error).__name__)
            except Exception:
                logger.exception("renewing leases failed; it goes on")  # ending here would let all of them expire

    def renew(self) -> None:
        """Renew all leases once."""
        for queue, taken in self._held.by_queue().items():
            asked_s = elapsed_s()
            for (key, token), stands in zip(taken, self._transitions.renew(queue, taken), strict=True):
                if stands > 0:
                    self._held.renewed(queue, key, token, asked_s)
                elif stands < 0:
                    self._held.suspend(queue, key, token)
                else:
                    self._held.drop(queue, key, token)
