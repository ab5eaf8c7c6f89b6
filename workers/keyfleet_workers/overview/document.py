"""The overview as JSON, for programs and for the page in Flower."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from keyfleet.jobs.finding import short_id
from keyfleet.running.fleet_status import LimitStatus
from keyfleet_workers.key_views import StateView
from keyfleet_workers.overview.jobs import JobOverview
from keyfleet_workers.overview.keys import KeyOverview, QuotaOverview
from keyfleet_workers.overview.queues import QueueOverview
from keyfleet_workers.overview.reading import Overview

__all__ = ["overview_document"]


def overview_document(overview: Overview) -> dict[str, Any]:
    """Times in seconds, points of time in ms since the epoch by the server's clock; null for what isn't known."""
    return {
        "fleet": overview.fleet,
        "now_ms": overview.now_ms,
        "keys": [_key(key) for key in overview.keys],
        "queues": [_queue(queue) for queue in overview.queues],
        "jobs": [_job(job) for job in overview.jobs],
    }


def _key(key: KeyOverview) -> dict[str, Any]:
    gravest = key.gravest
    return {
        "name": key.name,
        "state": key.state,
        "reason": "" if gravest is None else gravest.reason,
        "rest_s": 0.0 if gravest is None else gravest.rest_s,
        "provider": key.provider or None,
        "group": key.group,
        "models": list(key.models),
        "lost_models": list(key.lost_models),
        "states": [_state(state) for state in key.states],
        "quotas": [_quota(quota) for quota in key.quotas],
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "in_flight": key.in_flight,
        "slots": key.slots,
        "errors": key.errors,
        "workers": key.workers,
        "probed": None if key.probed is None else asdict(key.probed),
    }


def _state(state: StateView) -> dict[str, Any]:
    return {**asdict(state), "state": state.state.value}


def _quota(quota: QuotaOverview) -> dict[str, Any]:
    return {
        "name": quota.name,
        "label": quota.label,
        "state": None if quota.state is None else _state(quota.state),
        "limits": [_limit(limit) for limit in quota.limits],
    }


def _limit(limit: LimitStatus) -> dict[str, Any]:
    return {
        "unit": limit.unit,
        "amount": limit.amount,
        "window_s": limit.window_s,
        "used": limit.used,
        "left": max(0, limit.amount - limit.used),
    }


def _queue(queue: QueueOverview) -> dict[str, Any]:
    return {**asdict(queue), "waiting": queue.waiting}


def _job(job: JobOverview) -> dict[str, Any]:
    record = job.record
    return {
        "id": record.job_id,
        "short_id": short_id(record.job_id),
        "name": record.facts.name,
        "host": record.facts.host,
        "state": job.state.value,
        "total": job.total,
        "total_is_known": bool(record.total),
        "accepted": record.accepted,
        "succeeded": record.succeeded,
        "failed": record.failed,
        "share": job.share,
        "requests_per_s": job.requests_per_s,
        "left_s": job.left_s,
        "begun_ms": record.begun_ms or None,
        "seen_ms": record.seen_ms or None,
        "done_ms": record.done_ms or None,
    }
