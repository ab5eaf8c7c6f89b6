"""Writes what a worker tells into Prometheus's metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from keyfleet.ledger import Reaped, model_of
from keyfleet_workers.metrics.families import Families
from keyfleet_workers.metrics.meter import Meter, Standing

__all__ = ["PrometheusMeter"]

MOST_MODELS = 200
"""Models that have series of their own; those met later share `other`. A key may serve whatever is asked of it, so a
caller who makes up names must not fill the memory of workers and of Prometheus."""

LONGEST_MODEL = 200
"""Characters of a model's name with which it has series of its own, for the same reason."""

OTHER = "other"

_OUTCOMES = frozenset({"succeeded", "failed", "stopped"})


class PrometheusMeter(Meter):
    """The meter of one worker process, whose key is `key_name`. Safe for threads.

    `before_new` is called before every new series; what it raises reaches whoever has told something new.
    Series are looked up by names of our own, since prometheus_client's look-up costs more than counting.
    """

    def __init__(
        self,
        key_name: str,
        registry: CollectorRegistry,
        *,
        on_begin: Callable[[str], None] = lambda worker_id: None,
        on_end: Callable[[], None] = lambda: None,
        before_new: Callable[[], None] = lambda: None,
    ) -> None:
        self._key = key_name
        self._families = Families(registry)
        self._on_begin, self._on_end, self._before_new = on_begin, on_end, before_new
        self._adding = threading.Lock()
        self._models: dict[str, str] = {}
        self._series: dict[tuple[Any, ...], Any] = {}
        self._waited_s: dict[tuple[str, str], float] = {}
        self._waiting: dict[tuple[str, str], int] = {}

    def began(self, worker_id: str) -> None:
        self._one(self._families.workers, self._key).set(1)
        self._on_begin(worker_id)

    def ends(self) -> None:
        self._on_end()

    def called(self, queue: str, result: str, took_s: float, reported_tokens: int, reserved_tokens: int) -> None:
        families, model = self._families, self._model(queue)
        self._one(families.calls, self._key, model, result).inc()
        self._one(families.provider_latency, model).observe(max(0.0, took_s))
        if reported_tokens:
            self._one(families.tokens, self._key, model, "reported").inc(reported_tokens)
        self._one(families.tokens, self._key, model, "reserved").inc(reserved_tokens)

    def ended(self, queue: str, how: str, requests: int, ages_s: Sequence[float] = ()) -> None:
        families, model = self._families, self._model(queue)
        if how in _OUTCOMES:
            self._one(families.ended, self._key, model, how).inc(requests)
            for age_s in ages_s:
                self._one(families.fleet_latency, model).observe(max(0.0, age_s))
        else:
            self._one(families.returned, self._key, model, how).inc(requests)

    def ticket(self, queue: str, what: str, count: int = 1) -> None:
        self._one(self._families.tickets, self._key, self._model(queue), what).inc(count)

    def reaped(self, queue: str, found: Reaped) -> None:
        finds = {
            "expired_lease": found.expired,
            "given_up": len(found.given_up),
            "made_ready": found.moved,
            "lacking_ticket": found.lacking_tickets,
        }
        for find, count in finds.items():
            series = self._one(self._families.reaper_finds, self._model(queue), find)
            if count:
                series.inc(count)  # it was 0 before, else Prometheus would see no increase

    def stand(self, standing: Standing) -> None:
        families = self._families
        self._one(families.in_flight, self._key).set(standing.in_flight)
        self._one(families.slots, self._key).set(standing.slots)
        self._one(families.leases, self._key).set(standing.leases)
        self._note_waited(standing)
        self._note_waiting(standing)

    def _note_waited(self, standing: Standing) -> None:
        for wait, waited_s in standing.waited_s.items():
            more_s = waited_s - self._waited_s.get(wait, 0.0)
            if more_s > 0:
                self._waited_s[wait] = waited_s
                queue, reason = wait
                self._one(self._families.waited, self._key, self._model(queue), reason).inc(more_s)

    def _note_waiting(self, standing: Standing) -> None:
        """Series can't be taken back while the process lives, so waits that are over are 0."""
        present = dict.fromkeys(self._waiting, 0)
        for queue, reason in standing.waits:
            label = self._model(queue), reason
            present[label] = present.get(label, 0) + 1
        for (model, reason), count in present.items():
            self._one(self._families.waiting, self._key, model, reason).set(count)
        self._waiting = present

    def _model(self, queue: str) -> str:
        found = self._models.get(queue)
        if found is None:
            name = model_of(queue)
            found = name if len(self._models) < MOST_MODELS and len(name) <= LONGEST_MODEL else OTHER
            if found is not OTHER:
                self._models[queue] = found
        return found

    def _one(self, family: Any, *labels: str) -> Any:
        name = (family, *labels)
        found = self._series.get(name)
        if found is None:
            with self._adding:
                self._before_new()
                found = self._series[name] = family.labels(*labels)
        return found
