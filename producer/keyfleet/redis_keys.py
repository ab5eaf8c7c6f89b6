"""Every Redis key name, one function each.

All keys share one hash tag, since one script touches a job, a queue and quotas at once. Keys of a fleet carry its
name; quotas don't, because one account's limits hold for every fleet that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "QueueKeys",
    "called_back",
    "callers",
    "configured",
    "first_call",
    "fleet_prefix",
    "hold",
    "holders",
    "job",
    "job_failure_examples",
    "job_failures",
    "job_outcomes",
    "job_read",
    "jobs",
    "key_facts",
    "learned_limits",
    "lifted",
    "metrics_turn",
    "model_list",
    "model_list_turn",
    "models_wanted",
    "outputs",
    "paused",
    "probe_turn",
    "probe_wanted",
    "queues",
    "quota_window",
    "ramp",
    "reaper",
    "resuming",
    "server",
    "tickets",
    "tickets_prefix",
    "worker",
    "workers",
]

_TAG = "{keyfleet}"


def fleet_prefix(fleet: str) -> str:
    """What all keys of one fleet begin with."""
    return f"{_TAG}:{fleet}:"


def jobs(fleet: str) -> str:
    """Set of the ids of all jobs that are known; a done job is known until its record expires."""
    return f"{_TAG}:{fleet}:jobs"


def job(fleet: str, job_id: str) -> str:
    """Hash of one job: what it is, its state and its counts. It stays for some days when the job is done."""
    return f"{_TAG}:{fleet}:job:{job_id}"


def job_failures(fleet: str, job_id: str) -> str:
    """Hash: reason to how many requests of the job failed for it."""
    return f"{_TAG}:{fleet}:job:{job_id}:failures"


def job_failure_examples(fleet: str, job_id: str) -> str:
    """Hash: reason to the first failure with it as JSON."""
    return f"{_TAG}:{fleet}:job:{job_id}:failure-examples"


def job_outcomes(fleet: str, job_id: str) -> str:
    """Stream of the job's outcomes that are not collected yet."""
    return f"{_TAG}:{fleet}:job:{job_id}:outcomes"


def job_read(fleet: str, job_id: str) -> str:
    """Hash: request whose answer comes in pieces, to how many bytes of them its caller has read."""
    return f"{_TAG}:{fleet}:job:{job_id}:read"


def callers(fleet: str) -> str:
    """Sorted set of the jobs whose outcomes somebody waits for right now, by the time (ms) each was heard last."""
    return f"{_TAG}:{fleet}:callers"


def resuming(fleet: str) -> str:
    """Set of the jobs that somebody has begun to resume."""
    return f"{_TAG}:{fleet}:resuming"


def paused(fleet: str) -> str:
    """Set of the ids of jobs that were paused by hand."""
    return f"{_TAG}:{fleet}:paused"


def queues(fleet: str) -> str:
    """Set of the names of all queues that ever held a request."""
    return f"{_TAG}:{fleet}:queues"


def workers(fleet: str) -> str:
    """Sorted set of worker ids by the time (ms) until which each counts as alive."""
    return f"{_TAG}:{fleet}:workers"


def worker(fleet: str, worker_id: str) -> str:
    """String with one worker's status as JSON; it expires with the worker."""
    return f"{_TAG}:{fleet}:worker:{worker_id}"


def configured(fleet: str) -> str:
    """Sorted set of the keys that hosts have configured, by the time (ms) until which each counts as such."""
    return f"{_TAG}:{fleet}:configured"


def key_facts(fleet: str) -> str:
    """Hash: key name to what its last worker knew of it as JSON: group, provider, and the scopes of its holds."""
    return f"{_TAG}:{fleet}:key_facts"


def probe_wanted(fleet: str, key_name: str) -> str:
    """String that stands while somebody wants a key's worker to ask its provider; it expires."""
    return f"{_TAG}:{fleet}:probe_wanted:{key_name}"


def models_wanted(fleet: str) -> str:
    """Hash that stands while somebody wants to know which models there are, so that workers ask their providers."""
    return f"{_TAG}:{fleet}:models_wanted"


def model_list(fleet: str, key_name: str) -> str:
    """String with the models that a key's provider lists and the key serves, as JSON; it expires."""
    return f"{_TAG}:{fleet}:model_list:{key_name}"


def model_list_turn(fleet: str, key_name: str) -> str:
    """String that stands while a key's list of models is new enough, or a worker asks for it; it expires."""
    return f"{_TAG}:{fleet}:model_list_turn:{key_name}"


def metrics_turn(fleet: str) -> str:
    """String of the process that tells Prometheus how the whole fleet stands; it expires."""
    return f"{_TAG}:{fleet}:metrics_turn"


def reaper(fleet: str) -> str:
    """Hash with the reaper's lock, its last tick, and the times until which no lease expires and nothing is taken."""
    return f"{_TAG}:{fleet}:reaper"


def server(fleet: str) -> str:
    """Hash with `id`, a random name by which programs know the server again that their jobs were begun on."""
    return f"{_TAG}:{fleet}:server"


def holders(fleet: str, key_name: str) -> str:
    """Sorted set of the workers that serve a key, each by the time (ms) until which its lease of it stands."""
    return f"{_TAG}:{fleet}:holders:{key_name}"


def called_back(fleet: str, key_name: str) -> str:
    """String whose presence tells workers that have left a key out to try it again; it expires."""
    return f"{_TAG}:{fleet}:called_back:{key_name}"


def hold(scope: str) -> str:
    """String with what keeps a key, a group or a quota pool from being used; its expiry, if any, is the hold's end."""
    return f"{_TAG}:hold:{scope}"


def lifted(scope: str) -> str:
    """String with the time (ms) since which a scope was held that a probe has freed; it outlives a relapse."""
    return f"{_TAG}:lifted:{scope}"


def first_call(quota: str) -> str:
    """String of the worker whose call shows what limits a quota has; gone where that call brought nothing."""
    return f"{_TAG}:first:{quota}"


def probe_turn(scope: str) -> str:
    """String of the worker that probes what is held; the next probe is due when it expires."""
    return f"{_TAG}:probe:{scope}"


def ramp(pool: str) -> str:
    """Hash of a quota pool that grows back after `slow_down`: the share of its limits, and since when (ms)."""
    return f"{_TAG}:ramp:{pool}"


def learned_limits(pool: str) -> str:
    """Hash of the limits that answers told of: `<unit>:<window_s>` to the amount."""
    return f"{_TAG}:learned:{pool}"


def outputs() -> str:
    """Hash: model to `<mean> <mean deviation>` of the tokens of recent outputs."""
    return f"{_TAG}:outputs"


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
        """Hash: request to its place in the order of acceptance, and what decides on starting it (`queue.lua`)."""
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
    def urgent(self) -> str:
        """String that stands while urgent requests have lately been there."""
        return self._key("urgent")

    @property
    def unwanted(self) -> str:
        """Channel by which workers hear of requests in their hands that nobody waits for any more."""
        return self._key("unwanted")

    @property
    def shortage(self) -> str:
        """String with the time (ms) since which tickets are too few for what is ready."""
        return self._key("shortage")

    @property
    def capacity(self) -> str:
        """Hash: key name to the largest cost (tokens, images) that the key can ever start here, and until when (ms)."""
        return self._key("capacity")

    @property
    def lost(self) -> str:
        """Hash: name of a key that lost this queue's model, to the time (ms) at which it is tried again."""
        return self._key("lost")
