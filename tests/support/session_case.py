"""Whole runs on a stand-in server without any worker: answers are what a test gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from keyfleet.broker import ServerWatch
from keyfleet.config import Environment, Settings
from keyfleet.contract import Outcome
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import Finish, JobLedger, JobOptions, JobRecord, Transitions
from keyfleet.ledger.codec import request_key
from keyfleet.redis_keys import QueueKeys
from keyfleet.running import RunOptions, RunSession, session
from keyfleet.running.backend import Backend
from keyfleet.running.connection import Connection
from keyfleet.running.snapshot import End, Snapshot

__all__ = ["FLEET", "QUEUE", "SessionFleet", "new_session", "results", "run", "settings", "write_input"]

FLEET, QUEUE = "main", "m"


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(state_dir=tmp_path, **{"broker_url": "redis://:s3cret@127.0.0.1:1/0", **more})


class SessionFleet:
    """Stands for server and workers: a stand-in server, and answers that a test gives."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.transitions = Transitions(client, FLEET, lease_ms=30_000, declare_flags=False)
        self.job_id = ""
        monkeypatch.setattr(session, "open_connection", self._open_connection)
        monkeypatch.setattr(client, "info", lambda section: {"used_memory": 1})  # which the stand-in doesn't know

    def _open_connection(
        self, given: Settings, options: RunOptions, keys: Any, files: Any, stack: ExitStack, **_: Any
    ) -> Connection:
        self.job_id = files.job_id
        ledger = JobLedger(self.client, FLEET, files.job_id, JobOptions(echo=True), declare_flags=False)
        return Connection(Backend(given, None), self.client, ServerWatch(), ledger)

    def open_ids(self) -> list[str]:
        keys: Any = self.client.hkeys(QueueKeys(FLEET, QUEUE).requests)
        return sorted(key.decode().partition(":")[2] for key in keys)

    def record(self) -> JobRecord:
        (record,) = read_records(self.client, FLEET)
        return record

    def hold(self, request_id: str) -> None:
        """A worker takes a request."""
        key = request_key(self.job_id, request_id)
        self.client.zrem(QueueKeys(FLEET, QUEUE).ready_bulk, key)
        self.client.hset(QueueKeys(FLEET, QUEUE).leases, key, "token")

    def answer(self, *request_ids: str) -> None:
        """A worker delivers the outcomes of requests."""
        for request_id in request_ids:
            outcome = Outcome(request_id, True, 200, b'{"a":1}', 1, key_name="one", tokens=3)
            self.transitions.finish(QUEUE, self.job_id, [Finish(request_key(self.job_id, request_id), "", outcome)])


def write_input(path: Path, lines: int) -> Path:
    path.write_text("".join(json.dumps({"model": QUEUE, "prompt": "p", "max_tokens": 1}) + "\n" for _ in range(lines)))
    return path


def new_session(tmp_path: Path, **options: Any) -> RunSession:
    run_options = RunOptions(str(tmp_path / "in.jsonl"), use_local_workers=False, **options)
    found = RunSession(run_options, settings(tmp_path), Environment({}), None)
    assert found.open() is None
    found.connect()
    return found


def run(found: RunSession, show: Callable[[Snapshot], None]) -> End:
    try:
        return found.run(show)
    finally:
        found.close()


def results(tmp_path: Path) -> int:
    return len((tmp_path / "in_results.jsonl").read_text().splitlines())
