"""What the page shows, as JSON."""

from __future__ import annotations

import json
from typing import Any

import redis

from keyfleet_workers.overview import Overview, overview_document, read_overview

__all__ = ["page_document", "read_page"]

MOST_ENDED_JOBS = 10
"""Jobs that are over are shown up to this number, the last first."""

MOST_OPEN_JOBS = 200
"""Jobs that are not over are shown up to this number."""

_OVER = ("done", "cancelled")


def read_page(client: redis.Redis, fleet: str) -> bytes:
    """How `fleet` stands now. Raises redis.RedisError."""
    return json.dumps(page_document(read_overview(client, fleet)), separators=(",", ":")).encode()


def page_document(overview: Overview) -> dict[str, Any]:
    """The overview's document with as many jobs as a page can show; `jobs_left_out` is how many more there are."""
    document = overview_document(overview)
    open_jobs = [job for job in document["jobs"] if job["state"] not in _OVER]
    ended_jobs = [job for job in document["jobs"] if job["state"] in _OVER]
    shown = [*open_jobs[:MOST_OPEN_JOBS], *ended_jobs[:MOST_ENDED_JOBS]]
    return {**document, "jobs": shown, "jobs_left_out": len(document["jobs"]) - len(shown)}
