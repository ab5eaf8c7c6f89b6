"""The metrics that every worker process writes. Labels are few: no job, request, message or secret is ever one.

Names follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Families"]

PROVIDER_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
"""From a small embedding to a long answer of a slow model (s)."""

FLEET_BUCKETS_S = (0.1, 0.5, 1, 2.5, 5, 15, 30, 60, 300, 900, 3600, 14_400, 86_400)
"""From an interactive call to the last line of a job that limits stretch over a day (s)."""


class Families:
    """One worker process's counters, gauges and histograms.

    Gauges speak of live processes alone: prometheus_client leaves out those of dead ones.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        by_key = ("key", "model")
        self.calls = Counter(
            "keyfleet_calls",
            "Calls that providers were asked for, by what came of them",
            (*by_key, "result"),
            registry=registry,
        )
        self.ended = Counter(
            "keyfleet_requests_ended", "Requests that ended, by outcome", (*by_key, "outcome"), registry=registry
        )
        self.returned = Counter(
            "keyfleet_requests_returned",
            "Requests that went back to their queue, by reason",
            (*by_key, "reason"),
            registry=registry,
        )
        self.tokens = Counter(
            "keyfleet_tokens",
            "Tokens of calls: reserved before they were sent, and reported by their answers",
            (*by_key, "kind"),
            registry=registry,
        )
        self.provider_latency = Histogram(
            "keyfleet_provider_latency_seconds",
            "Time from sending a call to the end of its answer",
            ("model",),
            registry=registry,
            buckets=PROVIDER_BUCKETS_S,
        )
        self.fleet_latency = Histogram(
            "keyfleet_fleet_latency_seconds",
            "Time from the acceptance of a request to its outcome",
            ("model",),
            registry=registry,
            buckets=FLEET_BUCKETS_S,
        )
        self.waited = Counter(
            "keyfleet_wait_seconds",
            "Time in which a key left a queue alone, by reason",
            (*by_key, "reason"),
            registry=registry,
        )
        self.waiting = Gauge(
            "keyfleet_waiting",
            "Workers that leave a queue alone now, by reason",
            (*by_key, "reason"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.tickets = Counter(
            "keyfleet_tickets", "Tickets, by what became of them", (*by_key, "what"), registry=registry
        )
        self.reaper_finds = Counter(
            "keyfleet_reaper_finds", "What the reaper has found and set right", ("model", "find"), registry=registry
        )
        self.workers = self._gauge("keyfleet_workers", "Worker processes that serve a key", registry)
        self.in_flight = self._gauge("keyfleet_calls_in_flight", "Calls under way", registry)
        self.slots = self._gauge("keyfleet_call_slots", "Calls that may be under way at once", registry)
        self.leases = self._gauge("keyfleet_leases", "Requests that workers hold", registry)

    @staticmethod
    def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
        return Gauge(name, text, ("key",), registry=registry, multiprocess_mode="livesum")
