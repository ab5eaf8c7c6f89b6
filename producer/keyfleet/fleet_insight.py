"""`Fleet`'s methods that tell how it stands: its models, why and how long requests wait, and whether it can work."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any

from keyfleet.clock import elapsed_s
from keyfleet.ledger import queue_of
from keyfleet.open_fleet import OpenFleet
from keyfleet.running.wait_reasons import why_none_can_work, why_waiting

__all__ = ["InsightMethods"]

LATEST_S = 3.0
"""The broker is looked at once a second; what it said longer ago than this is no answer of now (s)."""


class InsightMethods(ABC):
    """For any thread. All but `models` answer at once, from what a thread reads of the workers once a second."""

    _opened: OpenFleet | None
    _is_closed: bool

    @abstractmethod
    def open(self) -> OpenFleet:
        """As of a Fleet."""

    def models(self) -> list[dict[str, Any]]:
        """The models that the keys serve, as entries of OpenAI's `GET /v1/models` (`id`, `object`, `created`,
        `owned_by`), sorted by id.

        They are those that the configuration of a key names, and for patterns of names, or a key that serves any
        model, those that its provider lists. Of a model that only the configuration names `created` is 0. A key that is
        refused, out of credit or disabled counts as any other; its models go some minutes after its worker has left.
        The first call waits up to three seconds for the providers' lists, later ones tell what is known and have it
        refreshed behind. Raises ConfigurationError, BrokerUnavailable and FleetClosed.
        """
        return [model.document() for model in self.open().models.models()]

    async def amodels(self) -> list[dict[str, Any]]:
        """As `models`, for an event loop."""
        opened = self.open() if self._opened is not None else await asyncio.to_thread(self.open)
        return [model.document() for model in await opened.models.amodels()]

    def wait_estimate_s(self, model: str) -> float | None:
        """How long until some key that serves `model` is likely to start something again (s): 0.0 where one need not
        wait, None where nothing is known. Raises as `models` does."""
        status = self.open().watch.known
        return None if status is None else status.wait_s(queue_of(model), time.time())

    def why_waiting(self, model: str) -> str:
        """Why requests for `model` wait now, in words for people. Raises as `models` does."""
        return why_waiting(self.open().watch.known, queue_of(model))

    def readiness(self) -> str:
        """Empty where the broker answers and the key of a running worker can work, else a sentence that says why not.

        It opens nothing, waits for nothing, and raises nothing. Keys that cool down for a while count as able. The
        sentence holds names of keys and words of providers.
        """
        opened = self._opened
        if self._is_closed or opened is None:
            return "the fleet was closed" if self._is_closed else "the fleet is not open yet"
        workers, watch = opened.backend.workers, opened.watch
        if workers is not None and workers.has_failed():
            return "the fleet's own workers have ended"
        heard_s, status = watch.heard_s, watch.known
        if heard_s is None:
            return "the broker has not answered yet"
        if status is None or elapsed_s() - heard_s > LATEST_S:
            return "the broker doesn't answer"
        return why_none_can_work(status)
