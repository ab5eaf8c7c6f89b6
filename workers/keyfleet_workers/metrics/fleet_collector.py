"""How the whole fleet stands, told to Prometheus by one process of it at a time, so that sums aren't doubled."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from typing import cast

import redis
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keyfleet import redis_keys
from keyfleet.ledger import JobState
from keyfleet.scripts import Script, load_source
from keyfleet.version import __version__
from keyfleet_workers.holds import KeyState
from keyfleet_workers.overview import Overview, read_overview
from keyfleet_workers.overview.keys import NO_WORKER

__all__ = ["FleetCollector"]

logger = logging.getLogger(__name__)

TURN_MS = 90_000
"""So long after it was asked last, a process still is the one that tells of the fleet (ms): longer than Prometheus's
default interval of a minute. Rules look back over twice as long, so that a change of turns hides nothing."""

MOST_QUEUES = 500
"""Queues that are told of, those with the most requests first: callers may ask for any model that a key would serve."""

KEY_STATES = (*(state.value for state in KeyState), NO_WORKER)


class FleetCollector(Collector):
    """Reads the broker whenever it is asked, and tells nothing of the fleet while that doesn't answer.

    A process that is asked takes its turn where nobody has it, and keeps it for as long as it is asked; the others
    leave the fleet to it.
    """

    def __init__(self, client: redis.Redis, fleet: str, *, declare_flags: bool = True) -> None:
        source = load_source(("keyfleet_workers.metrics", "take_turn.lua"), declare_flags=declare_flags)
        self._take_turn = Script(client, source)
        self._client = client
        self._fleet = fleet
        self._id = uuid.uuid4().hex

    def describe(self) -> Iterable[Metric]:
        """Nothing, else registering would ask the broker."""
        return ()

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("keyfleet_build_info", "The version that runs here", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build
        up = GaugeMetricFamily("keyfleet_broker_up", "Whether the broker answers this process")
        try:
            overview = read_overview(self._client, self._fleet) if self._is_our_turn() else None
            up.add_metric((), 1)
        except redis.RedisError as error:
            logger.info("the fleet can't be told of (%s)", type(error).__name__)
            overview = None
            is_away = isinstance(error, (redis.ConnectionError, redis.TimeoutError))
            up.add_metric((), 0 if is_away else 1)  # one that refuses something has answered
        yield up
        if overview is not None:
            yield from _keys(overview)
            yield from _limits(overview)
            yield from _queues(overview)
            yield _jobs(overview)

    def give_up_turn(self) -> None:
        """Let another process tell of the fleet at once."""
        try:
            if self._turn() == self._id:
                self._client.delete(redis_keys.metrics_turn(self._fleet))
        except redis.RedisError as error:
            logger.info("the turn ends by itself (%s)", type(error).__name__)

    def _is_our_turn(self) -> bool:
        return bool(self._take_turn([redis_keys.metrics_turn(self._fleet)], [self._id, TURN_MS]))

    def _turn(self) -> str:
        found = cast("bytes | None", self._client.get(redis_keys.metrics_turn(self._fleet)))
        return "" if found is None else found.decode(errors="replace")


def _keys(overview: Overview) -> Iterator[Metric]:
    states = GaugeMetricFamily("keyfleet_key_state", "1 for the state that a key is in", labels=("key", "state"))
    workers = GaugeMetricFamily("keyfleet_key_workers", "Workers of all hosts that serve a key", labels=("key",))
    for key in overview.keys:
        for state in KEY_STATES:
            states.add_metric((key.name, state), float(key.state == state))
        workers.add_metric((key.name,), sum(key.workers.values()))
    yield states
    yield workers


def _limits(overview: Overview) -> tuple[Metric, Metric]:
    labels = ("key", "quota", "unit", "window")
    used = GaugeMetricFamily("keyfleet_limit_used_ratio", "Share of a limit that is used now", labels=labels)
    amounts = GaugeMetricFamily("keyfleet_limit_amount", "What a limit allows in its window", labels=labels)
    found: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for key in overview.keys:
        for quota in key.quotas:
            for limit in quota.limits:
                name = (key.name, quota.label, limit.unit, f"{limit.window_s}s")
                found[name] = max(found.get(name, (0, 0)), (limit.used, limit.amount))
    for name, (amount_used, amount) in found.items():
        used.add_metric(name, amount_used / amount if amount else 1.0)
        amounts.add_metric(name, amount)
    return used, amounts


def _queues(overview: Overview) -> Iterator[Metric]:
    requests = GaugeMetricFamily(
        "keyfleet_queue_requests", "Requests without an outcome, by where they are", labels=("model", "state")
    )
    oldest = GaugeMetricFamily(
        "keyfleet_queue_oldest_age_seconds", "How long ago the oldest that waits was accepted", labels=("model",)
    )
    keys = GaugeMetricFamily("keyfleet_queue_keys", "Keys that serve the model now", labels=("model",))
    for queue in sorted(overview.queues, key=lambda queue: -(queue.waiting + queue.running))[:MOST_QUEUES]:
        states = {
            "ready_urgent": queue.ready_urgent,
            "ready_bulk": queue.ready_bulk,
            "running": queue.running,
            "delayed": queue.delayed,
            "paused": queue.paused,
        }
        for state, count in states.items():
            requests.add_metric((queue.model, state), count)
        oldest.add_metric((queue.model,), queue.oldest_s or 0.0)
        keys.add_metric((queue.model,), queue.keys)
    yield requests
    yield oldest
    yield keys


def _jobs(overview: Overview) -> Metric:
    jobs = GaugeMetricFamily("keyfleet_jobs", "Jobs that the broker knows, by state", labels=("state",))
    for state in JobState:
        jobs.add_metric((state.value,), sum(job.state is state for job in overview.jobs))
    return jobs
