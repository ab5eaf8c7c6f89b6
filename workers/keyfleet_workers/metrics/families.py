"""The metrics that every worker process writes. Labels are few: no job, request, message or secret is ever one.

Names follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from functools import partial

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
        counter = partial(Counter, registry=registry)
        self.calls = counter(
            "keyfleet_calls", "Calls that providers were asked for, by what came of them", (*by_key, "result")
        )
        self.ended = counter("keyfleet_requests_ended", "Requests that ended, by outcome", (*by_key, "outcome"))
        self.returned = counter(
            "keyfleet_requests_returned", "Requests that went back to their queue, by reason", (*by_key, "reason")
        )
        self.tokens = counter(
            "keyfleet_tokens",
            "Tokens of calls: reserved before they were sent, and reported by their answers",
            (*by_key, "kind"),
        )
        histogram = partial(Histogram, labelnames=("model",), registry=registry)
        self.provider_latency = histogram(
            "keyfleet_provider_latency_seconds",
            "Time from sending a call to the end of its answer",
            buckets=PROVIDER_BUCKETS_S,
        )
        self.fleet_latency = histogram(
            "keyfleet_fleet_latency_seconds",
            "Time from the acceptance of a request to its outcome",
            buckets=FLEET_BUCKETS_S,
        )
        self.waited = counter(
            "keyfleet_wait_seconds", "Time in which a key left a queue alone, by reason", (*by_key, "reason")
        )
        self.tickets = counter("keyfleet_tickets", "Tickets, by what became of them", (*by_key, "what"))
        self.reaper_finds = counter(
            "keyfleet_reaper_finds", "What the reaper has found and set right", ("model", "find")
        )
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self.waiting = gauge("keyfleet_waiting", "Workers that leave a queue alone now, by reason", (*by_key, "reason"))
        self.workers = gauge("keyfleet_workers", "Worker processes that serve a key", ("key",))
        self.in_flight = gauge("keyfleet_calls_in_flight", "Calls under way", ("key",))
        self.slots = gauge("keyfleet_call_slots", "Calls that may be under way at once", ("key",))
        self.leases = gauge("keyfleet_leases", "Requests that workers hold", ("key",))
