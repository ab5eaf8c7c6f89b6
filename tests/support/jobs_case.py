"""Jobs of a Fleet on a stand-in server without any worker: answers are what a test gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import ServerWatch
from keyfleet.config import Settings
from keyfleet.contract import CALLER_GONE, AttemptError, Outcome, Request
from keyfleet.fleet_jobs import FleetJobs, Job, JobChoices, adoption, assembly, desk, oversight, runner
from keyfleet.jobs import cancel_job, purge_job, withdraw_job
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import Finish, JobLedger, JobRecord, Transitions
from keyfleet.ledger.codec import request_key
from keyfleet.redis_keys import QueueKeys
from keyfleet.running import ending, fleet_watch, job_run
from keyfleet.running.backend import Backend
from keyfleet.running.fleet_status import FleetStatus
from support.events import wait_until

__all__ = ["FLEET", "QUEUE", "JobsCase", "a_request", "body", "jobs_case"]

FLEET, QUEUE = "main", "m"

URL = "redis://:secret@127.0.0.1:1/0"


WORKER = {
    "key": "one",
    "host": "h",
    "in_flight": 1,
    "slots": 1,
    "short_of_slots": False,
    "waits": {},
    "limits": [],
    "totals": {},
    "state": {"name": "ready", "reason": "", "rest_s": 0.0},
    "queues": {"m": "serves"},
    "has_left": False,
}
"""What a worker says that is alive: calls in flight are waited for."""


def body(text: str = "p", **more: Any) -> dict[str, Any]:
    """A request that every case takes."""
    return {"model": QUEUE, "prompt": text, "max_tokens": 1, **more}


def a_request(number: int) -> Request:
    """One as a producer would have accepted it."""
    return Request(str(number), "/v1/completions", QUEUE, b"{}", 1)


class _Backend(Backend):
    """A backend whose connections lead to a stand-in."""

    client: redis.Redis

    def connect(self) -> tuple[redis.Redis, ServerWatch]:
        return self.client, ServerWatch()


class _Opened:
    """A Fleet that is open, whose workers are others' business."""

    served = None
    encoding_name = None

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def status(self) -> FleetStatus:
        return FleetStatus()


class JobsCase:
    """`jobs` are those of one Fleet; `begin_again` makes those of another program with the same files and server."""

    def __init__(self, client: redis.Redis, state_dir: Path, stack: ExitStack) -> None:
        self.client = client
        self.state_dir = state_dir
        self._stack = stack
        self.transitions = Transitions(client, FLEET, lease_ms=30_000, declare_flags=False)
        self.jobs = self.begin_again()
        client.set(redis_keys.worker(FLEET, "w"), json.dumps(WORKER))
        client.zadd(redis_keys.workers(FLEET), {"w": 1})

    def begin_again(self, fleet: str = FLEET, *, url: str = URL, client: redis.Redis | None = None) -> FleetJobs:
        settings = Settings(self.state_dir, broker_url=url, fleet=fleet)
        backend = _Backend(settings, None)
        backend.client = client or self.client
        opened = _Opened(backend)
        self.jobs = FleetJobs(lambda: opened)
        self._stack.callback(self.jobs.close)
        return self.jobs

    def submit(self, count: int, **choices: Any) -> Job:
        """Begin a job of `count` rows."""
        return self.jobs.submit((body(f"row {number}") for number in range(count)), JobChoices(**choices))

    def wait_for_open(self, job: Job, count: int) -> None:
        """Wait until the ledger holds `count` requests of a job."""
        wait_until(lambda: len(self.open_ids(job.id)) == count, f"{count} requests are accepted")

    def open_ids(self, job_id: str | None = None, fleet: str = FLEET) -> list[str]:
        """The line numbers of requests that the ledger holds, of one job or of all."""
        keys: Any = self.client.hkeys(QueueKeys(fleet, QUEUE).requests)
        parts = [key.decode().partition(":") for key in keys]
        return sorted((number for one, _, number in parts if job_id in (None, one)), key=int)

    def job_of_open(self) -> str:
        """The id of the one job that has requests in the ledger."""
        keys: Any = self.client.hkeys(QueueKeys(FLEET, QUEUE).requests)
        (found,) = {key.decode().partition(":")[0] for key in keys}
        return str(found)

    def record(self, job_id: str, fleet: str = FLEET) -> JobRecord:
        (found,) = (one for one in read_records(self.client, fleet) if one.job_id == job_id)
        return found

    def hold(self, job_id: str, number: str) -> None:
        """A worker takes a request."""
        key = request_key(job_id, number)
        self.client.zrem(QueueKeys(FLEET, QUEUE).ready_bulk, key)
        self.client.hset(QueueKeys(FLEET, QUEUE).leases, key, "token")

    def answer(self, job_id: str, numbers: Sequence[str]) -> None:
        """A worker delivers the outcomes of requests."""
        for number in numbers:
            self._finish(job_id, Outcome(number, True, 200, b'{"n": %s}' % number.encode(), 1, key_name="one"), "")

    def answer_all(self, job_id: str) -> None:
        self.answer(job_id, self.open_ids(job_id))

    def fail(self, job_id: str, number: str, code: str = "bad") -> None:
        """A worker delivers a final error."""
        self.hold(job_id, number)
        error = AttemptError(400, code, "it is", "one")
        self._finish(job_id, Outcome(number, False, 400, b"{}", 1, (error,), "one"), "token")

    def drop(self, job_id: str, number: str) -> None:
        """A worker has found that nobody waits for a request."""
        self.hold(job_id, number)
        error = AttemptError(None, CALLER_GONE, "nobody waits for it")
        self._finish(job_id, Outcome(number, False, None, None, 0, (error,)), "token")

    def _finish(self, job_id: str, outcome: Outcome, token: str) -> None:
        self.transitions.finish(QUEUE, job_id, [Finish(request_key(job_id, outcome.id), token, outcome)])


@pytest.fixture
def jobs_case(stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsCase]:
    """A case of its own, which looks often, and ends its jobs at the end of the test."""
    client = stand_in.client()
    monkeypatch.setattr(client, "info", lambda section: {"used_memory": 1})  # which the stand-in doesn't know
    monkeypatch.setattr(client, "close", lambda: None)
    for module, name in ((job_run, "LOOK_S"), (ending, "LOOK_S"), (fleet_watch, "STATUS_S"), (adoption, "LOOK_S")):
        monkeypatch.setattr(module, name, 0.005)
    for module in (assembly, adoption):
        monkeypatch.setattr(module, "JobLedger", partial(JobLedger, declare_flags=False))
    for module in (oversight, desk):
        monkeypatch.setattr(module, "cancel_job", partial(cancel_job, declare_flags=False))
    for module in (runner, adoption, desk):
        monkeypatch.setattr(module, "purge_job", without_flags(purge_job))
    monkeypatch.setattr(adoption, "withdraw_job", without_flags(withdraw_job))
    with ExitStack() as stack:
        yield JobsCase(client, tmp_path, stack)


def without_flags(function: Any) -> Any:
    return lambda *given, **named: function(*given, **{**named, "declare_flags": False})
