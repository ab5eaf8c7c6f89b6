"""Why a request or a job waits, in a sentence: the limit, how the keys stand, and how long it is likely to take."""

from __future__ import annotations

import time
from collections.abc import Mapping

from keyfleet.jobs import OpenCounts
from keyfleet.jobs.finding import short_id
from keyfleet.ledger import JobState, model_of
from keyfleet.running.blocked_models import key_trouble
from keyfleet.running.fleet_status import FleetStatus, WorkerStatus
from keyfleet.running.progress import duration_text
from keyfleet_workers.overview.jobs import JobOverview
from keyfleet_workers.overview.places import RequestPlace
from keyfleet_workers.overview.queues import QueueOverview
from keyfleet_workers.overview.reading import Overview

__all__ = ["explain_job", "explain_request"]

MOST_KEYS = 6
"""Keys that are named one by one."""


def job_name(job: JobOverview) -> str:
    """As people call it, e.g. `job 3f2a81c0 (questions.jsonl)`."""
    name = job.record.facts.name
    return f"job {short_id(job.record.job_id)}{f' ({name})' if name else ''}"


def explain_job(overview: Overview, job: JobOverview, open_counts: Mapping[str, OpenCounts]) -> str:
    """How a job stands and why it waits. `open_counts` is what it has open in each queue."""
    done = f"{job.ended:,} of {job.total:,} requests are done"
    head = f"{job_name(job)} is {job.state.value}: {done}"
    if job.state is JobState.PAUSED:
        return f"{head}; `keyfleet jobs resume {short_id(job.record.job_id)}` lets it go on"
    if job.state in (JobState.DONE, JobState.CANCELLED):
        return head
    parts = [head]
    for queue in overview.queues:
        if queue.name in open_counts:
            parts.append(_of_queue(overview.status, queue, open_counts[queue.name]))
    if job.state is JobState.INTERRUPTED:
        parts.append("nobody runs it now: the command that began it goes on with it")
    elif job.left_s is not None:
        parts.append(f"it takes about {duration_text(job.left_s)} more")
    return "; ".join(parts)


def _of_queue(status: FleetStatus, queue: QueueOverview, counts: OpenCounts) -> str:
    states = [(counts.ready, "waiting"), (counts.running, "being sent"), (counts.delayed, "in backoff")]
    parts = ", ".join(f"{count:,} {what}" for count, what in states if count)
    return f"for {queue.model} {parts}{f' ({_why(status, queue)})' if counts.ready else ''}"


def explain_request(overview: Overview, job: JobOverview, place: RequestPlace | None, request_id: str) -> str:
    """How a request stands and why it waits; `place` None: the ledger doesn't hold it."""
    name = f"{'line' if request_id.isdecimal() else 'request'} {request_id} of {job_name(job)}"
    if place is None:
        waits = "was withdrawn" if job.state is JobState.CANCELLED else "was not sent into the queue yet"
        return f"{name} is not in the queue: it has its answer, or {waits}, or there is none"
    if place.holder is not None:
        key_name, _, rest = place.holder.partition(":")
        return f"{name} is being sent by {key_name} on {rest.partition(':')[0]}{_failed(place)}"
    if job.state is JobState.PAUSED:
        resume = f"`keyfleet jobs resume {short_id(job.record.job_id)}` lets it go on"
        return f"{name} waits because its job is paused{_failed(place)}; {resume}"
    if place.due_ms is not None:
        left_s = max(1.0, (place.due_ms - overview.now_ms) / 1000)
        return f"{name} is in backoff for {duration_text(left_s)} more{_failed(place)}"
    queue = next((queue for queue in overview.queues if queue.name == place.queue), None)
    if queue is None:
        return f"{name} has only just been accepted"
    ahead = place.ahead or 0
    where = "is the next" if not ahead else f"waits behind {ahead:,} others"
    why = f"{where} for {queue.model} ({_why(overview.status, queue)}){_failed(place)}"
    return f"{name} {why}{_expected(overview, queue, ahead)}"


def _failed(place: RequestPlace) -> str:
    if not place.failures:
        return ""
    return f", after {len(place.failures)} failed attempt{'s' * (len(place.failures) > 1)} ({place.failures[-1]})"


def _expected(overview: Overview, queue: QueueOverview, ahead: int) -> str:
    """From the wait that the keys tell of, and the pace of the last minute where others are ahead."""
    if queue.wait_s is None:
        return ""
    serving = {worker.key_name for worker in overview.status.workers if worker.serves(queue.name)}
    per_minute = sum(key.requests_per_minute for key in overview.keys if key.name in serving)
    if ahead and not per_minute:
        return ""
    wait_s = queue.wait_s + (ahead * 60 / per_minute if ahead else 0.0)
    return f"; it should be sent in about {duration_text(max(1.0, wait_s))}"


def _why(status: FleetStatus, queue: QueueOverview) -> str:
    """Why a queue waits, and how each key stands that serves it."""
    keys = _keys(status, queue.name)
    if not keys:
        return queue.why or f"no worker serves {model_of(queue.name)}"
    return "; ".join(f"{name} {words}" for name, words in keys)


def _keys(status: FleetStatus, queue: str) -> list[tuple[str, str]]:
    serving = [worker for worker in status.workers if worker.serves(queue)]
    serving.sort(key=lambda worker: worker.key.state == "ready")  # of a key's workers, one that can go on is told of
    found = {worker.key_name: _standing(worker, queue) for worker in serving}
    named = sorted(found.items())
    if len(named) > MOST_KEYS:
        return [*named[:MOST_KEYS], (f"and {len(named) - MOST_KEYS}", "keys more")]
    return named


def _standing(worker: WorkerStatus, queue: str) -> str:
    if worker.key.state != "ready":
        return key_trouble(worker.key)
    reason, until_s = worker.waits.get(queue, ("", 0.0))
    left_s = until_s - time.time()
    if left_s > 0:
        return f"waits {duration_text(max(1.0, left_s))} more for {reason}"
    if worker.short_of_slots:
        return f"has {worker.in_flight} calls under way, as many as it may"
    return f"takes requests, {worker.in_flight} under way"
