"""The ACL users of docs/operations.md, taken from that very file: what they suffice for, and what they don't allow."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import connect
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, bare_line, lines_answered, sim_key, wait_until, write_lines
from support.fixtures import StartSim
from support.forwarder import Forwarder

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
BEYOND = {"config|get"}
"""What workers try and can do without."""


def users() -> dict[str, list[str]]:
    """The rules of each user in the documentation."""
    commands = [shlex.split(line) for line in re.findall(r"^ACL SETUSER .*$", OPERATIONS.read_text(), re.MULTILINE)]
    return {command[2]: command[2:] for command in commands}


def password_of(user: str) -> str:
    return f"{user.removeprefix('keyfleet-').upper()}-PASSWORD"


@pytest.fixture
def port(broker: ServerProcess) -> Iterator[int]:
    """A port of a broker that lets in the documented users only."""
    with broker.client() as client:
        for rules in users().values():
            client.execute_command("ACL SETUSER", *rules)
        client.execute_command("ACL SETUSER", "default", "resetpass", ">the-tests-own")
    forwarder = Forwarder(broker.socket_path)
    yield urlsplit(forwarder.url).port or 0
    forwarder.close()


@pytest.fixture
def admin(broker: ServerProcess, port: int) -> Iterator[redis.Redis]:
    """Whoever may do everything."""
    with redis.Redis.from_url(f"unix://:the-tests-own@{broker.socket_path}") as client:
        client.ping()
        yield client


def url_of(user: str, port: int) -> str:
    return f"redis://{user}:{password_of(user)}@127.0.0.1:{port}/0"


def denied(admin: redis.Redis) -> list[str]:
    """What users tried and may not do."""
    entries: Any = admin.acl_log(count=100)
    return [f"{entry['username']}: {entry['object']}" for entry in entries if entry["object"] not in BEYOND]


def test_the_documentation_has_a_user_for_each_part() -> None:
    assert list(users()) == ["keyfleet-producer", "keyfleet-worker", "keyfleet-monitor"]


def test_a_whole_job_runs_as_the_documented_users(
    place: Place, start_sim: StartSim, admin: redis.Redis, port: int
) -> None:
    key = sim_key("one", "100/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,))), (key,))
    lines = [bare_line(n, "[[sim:500x1]]" if n % 9 == 0 else "[[sim:400]]" if n % 20 == 7 else "") for n in range(60)]
    write_lines(place.directory / "in.jsonl", lines)
    worker = place.start("worker", "--key", "one", KEYFLEET_BROKER_URL=url_of("keyfleet-worker", port))
    run = place.start("run", "in.jsonl", "--no-workers", KEYFLEET_BROKER_URL=url_of("keyfleet-producer", port))
    assert run.wait() == 1, run.stderr + worker.stderr
    assert len(lines_answered(place.directory / "in_results.jsonl")) == 58
    assert denied(admin) == []
    assert worker.code is None


def test_a_worker_that_leases_its_key_needs_no_more(
    place: Place, start_sim: StartSim, admin: redis.Redis, port: int
) -> None:
    keys = (sim_key("one"), sim_key("two"))
    place.write_keys(start_sim(SimConfig(keys=keys)), keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(20)])
    worker = place.start("worker", KEYFLEET_BROKER_URL=url_of("keyfleet-worker", port))
    run = place.start("run", "in.jsonl", "--no-workers", KEYFLEET_BROKER_URL=url_of("keyfleet-producer", port))
    assert run.wait() == 0, run.stderr + worker.stderr
    assert denied(admin) == []


def test_the_monitor_sees_how_things_stand_and_neither_reads_requests_nor_writes(
    place: Place, start_sim: StartSim, admin: redis.Redis, port: int
) -> None:
    key = sim_key("one", "5/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,), latency=SimLatency(latency_ms=100))), (key,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(200)])
    place.start("worker", "--key", "one", KEYFLEET_BROKER_URL=url_of("keyfleet-worker", port))
    place.start("run", "in.jsonl", "--no-workers", KEYFLEET_BROKER_URL=url_of("keyfleet-producer", port))
    queue = QueueKeys("main", "sim-model")
    with connect(url_of("keyfleet-monitor", port)) as monitor:
        wait_until(lambda: read_fleet_status(monitor, "main").workers, "the monitor sees the worker")
        wait_until(lambda: monitor.zcard(queue.ready_bulk), "the monitor sees what waits")
        jobs: Any = monitor.smembers(redis_keys.jobs("main"))
        (job,) = (name.decode() for name in jobs)
        assert monitor.hgetall(redis_keys.job("main", job))
        assert denied(admin) == []
        for command in forbidden(queue, job):
            with pytest.raises(redis.exceptions.NoPermissionError):
                monitor.execute_command(*command)


def forbidden(queue: QueueKeys, job: str) -> list[list[Any]]:
    """Commands that would show requests or answers, or change anything."""
    stream = redis_keys.job_outcomes("main", job)
    reads = [["HGETALL", queue.requests], ["HMGET", queue.requests, "x"], ["HGETALL", queue.attempts]]
    reads += [["XRANGE", stream, "-", "+"], ["HGETALL", redis_keys.job_failure_examples("main", job)]]
    reads += [["GET", redis_keys.tickets("main", "sim-model", 9)], ["DUMP", queue.requests], ["KEYS", "*"]]
    writes: list[list[Any]] = [["SET", redis_keys.worker("main", "x"), "x"], ["DEL", redis_keys.jobs("main")]]
    writes += [
        ["EVAL", "return redis.call('HGETALL', KEYS[1])", 1, queue.requests],
        ["FLUSHALL"],
        ["CONFIG", "GET", "*"],
    ]
    writes += [["LPUSH", redis_keys.tickets("main", "sim-model", 9), "x"], ["PUBLISH", "{keyfleet}:main:celery:x", "x"]]
    return reads + writes
