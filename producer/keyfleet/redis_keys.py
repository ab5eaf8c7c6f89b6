"""Every Redis key name, one function each.

All keys share one hash tag, since one script touches a job, a queue and quotas at once. Keys of a fleet carry its
name; quotas don't, because one account's limits hold for every fleet that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "QueueKeys",
    "cooldown",
    "job",
    "job_outcomes",
    "jobs",
    "queues",
    "quota_window",
    "reaper",
    "tickets",
    "tickets_prefix",
    "worker",
    "workers",
]

_TAG = "{keyfleet}"


def jobs(fleet: str) -> str:
    """Set of the ids of all jobs that have not been closed."""
    return f"{_TAG}:{fleet}:jobs"


def job(fleet: str, job_id: str) -> str:
    """Hash of one job: its options and counts."""
    return f"{_TAG}:{fleet}:job:{job_id}"


def job_outcomes(fleet: str, job_id: str) -> str:
    """Stream of the job's outcomes that are not collected yet."""
    return f"{_TAG}:{fleet}:job:{job_id}:outcomes"


def queues(fleet: str) -> str:
    """Set of the names of all queues that ever held a request."""
    return f"{_TAG}:{fleet}:queues"


def workers(fleet: str) -> str:
    """Sorted set of worker ids by the time (ms) until which each counts as alive."""
    return f"{_TAG}:{fleet}:workers"


def worker(fleet: str, worker_id: str) -> str:
    """String with one worker's status as JSON; it expires with the worker."""
    return f"{_TAG}:{fleet}:worker:{worker_id}"


def reaper(fleet: str) -> str:
    """Hash with the reaper's lock, its last tick and the time until which no lease expires."""
    return f"{_TAG}:{fleet}:reaper"


def cooldown(scope: str) -> str:
    """String with the reason for which a key or quota rests; its expiry is the end of the rest."""
    return f"{_TAG}:cooldown:{scope}"


def quota_window(quota: str, unit: str, window_s: int) -> str:
    """Hash with the slots of one sliding window of a quota."""
    return f"{_TAG}:quota:{quota}:{unit}:{window_s}"


def tickets_prefix(fleet: str) -> str:
    """What Celery's transport puts before the names of its own keys."""
    return f"{_TAG}:{fleet}:celery:"


def tickets(fleet: str, queue: str, priority: int) -> str:
    """List of the tickets of one priority, as Celery's Redis transport names it (0, the highest, has no suffix)."""
    name = f"{tickets_prefix(fleet)}{queue}"
    return f"{name}\x06\x16{priority}" if priority else name


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one queue's part of the ledger."""

    fleet: str
    queue: str

    def _key(self, part: str) -> str:
        return f"{_TAG}:{self.fleet}:queue:{self.queue}:{part}"

    @property
    def requests(self) -> str:
        """Hash: request to `<context JSON>\\n<body>`."""
        return self._key("requests")

    @property
    def places(self) -> str:
        """Hash: request to `<priority> <sequence> <cost_tokens>`, its place in the order of acceptance."""
        return self._key("places")

    @property
    def sequence(self) -> str:
        """Counter of accepted requests."""
        return self._key("sequence")

    @property
    def ready_urgent(self) -> str:
        """Sorted set of interactive requests that wait to be taken, by sequence."""
        return self._key("ready:urgent")

    @property
    def ready_bulk(self) -> str:
        """Sorted set of bulk requests that wait to be taken, by sequence."""
        return self._key("ready:bulk")

    @property
    def running(self) -> str:
        """Sorted set of requests that a worker holds, by the end of its lease (ms)."""
        return self._key("running")

    @property
    def leases(self) -> str:
        """Hash: request to the fencing token of its present lease."""
        return self._key("leases")

    @property
    def expiries(self) -> str:
        """Hash: request to the number of leases in a row that expired."""
        return self._key("expiries")

    @property
    def delayed(self) -> str:
        """Sorted set of requests in backoff, by the time (ms) at which they are ready again."""
        return self._key("delayed")

    @property
    def attempts(self) -> str:
        """Hash: request to its failed attempts so far as JSON; absent before the first."""
        return self._key("attempts")

    @property
    def shortage(self) -> str:
        """String with the time (ms) since which tickets are too few for what is ready."""
        return self._key("shortage")

    @property
    def capacity(self) -> str:
        """Hash: key name to the largest cost (tokens) that the key can ever start here, with an expiry time (ms)."""
        return self._key("capacity")
