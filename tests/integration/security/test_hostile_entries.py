"""What lies malformed in the ledger or in a job's stream: it ends as an error, and stops neither worker nor job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.redis_keys import QueueKeys
from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, bare_line, lines_answered, rows_of, sim_key, wait_until, write_lines
from support.fixtures import StartSim

KEYS = QueueKeys("main", "sim-model")
HEADER = {"v": 1, "endpoint": "/v1/chat/completions", "model": "sim-model", "attempts": [5, 2], "timeout_s": 600.0}
BODY = b'{"model":"sim-model","messages":[{"role":"user","content":"hello"}],"max_tokens":1}'


def record(**changed: Any) -> bytes:
    return json.dumps({**HEADER, **changed}).encode() + b"\n" + BODY


HOSTILE_RECORDS: dict[str, bytes] = {
    "no JSON": b"nonsense\n" + BODY,
    "no text": b"\xff\xfe\n" + BODY,
    "no body": json.dumps(HEADER).encode(),
    "empty": b"",
    "a list": b"[]\n" + BODY,
    "deeply nested": b"[" * 100_000 + b"\n" + BODY,
    "a later version": record(v=3),
    "a version that is none": record(v="1"),
    "another host": record(endpoint="https://elsewhere.example/v1/chat/completions"),
    "a host of its own": record(endpoint="@elsewhere.example/"),
    "an endpoint with a line break": record(endpoint="/v1/x\r\nHost: elsewhere.example"),
    "an endpoint that is no text": record(endpoint=[1]),
    "a model that is no text": record(model={}),
    "attempts that are none": record(attempts="many"),
    "negative attempts": record(attempts=[-1, 2]),
    "no timeout": record(timeout_s=float("nan")),
    "a context that is no object": record(context=[1]),
}

HOSTILE_PLACES = {
    "no place": None,
    "a text": b"nonsense",
    "a negative cost": b"0 1 -5 1 0 -",
    "a cost that is no number": b"0 1 nan 1 0 -",
    "an immense cost": b"0 1 " + b"9" * 400 + b" 1 0 -",
    "a negative number of images": b"0 1 10 1 0 - -5",
    "an immense number of images": b"0 1 10 1 0 - " + b"9" * 400,
    "an immense sequence": b"0 " + b"9" * 400 + b" 1 1 0 -",
}


@pytest.fixture
def client(broker: ServerProcess) -> Iterator[redis.Redis]:
    """A client of the broker."""
    with broker.client() as client:
        yield client


def plant(client: redis.Redis, name: str | bytes, text: bytes, place: bytes | None = b"0 1 10 1 0 -") -> None:
    """Put a request into the ledger as an enemy would, in front of all others."""
    client.hset(KEYS.requests, name, text)  # type: ignore[arg-type] # redis-py wants texts, and takes bytes
    if place is not None:
        client.hset(KEYS.places, name, place)  # type: ignore[arg-type]
    ready: Any = {name: 0}
    client.zadd(KEYS.ready_bulk, ready)


def test_bad_entries_end_as_errors_and_their_neighbours_are_served(
    place: Place, start_sim: StartSim, broker: ServerProcess, client: redis.Redis
) -> None:
    key = sim_key("one")
    sim = start_sim(SimConfig(keys=(key,)))
    place.write_keys(sim, (key,))
    client.sadd(redis_keys.queues("main"), "sim-model", b"\xff")
    for number, text in enumerate(HOSTILE_RECORDS.values()):
        plant(client, f"enemy:{number}", text)
    for number, where in enumerate(HOSTILE_PLACES.values(), start=len(HOSTILE_RECORDS)):
        plant(client, f"enemy:{number}", record(), where)
    plant(client, b"enemy:\xff\xfe", b"nonsense")
    client.zadd(KEYS.ready_bulk, {"enemy:a-name-without-a-request": 0})
    client.hset(KEYS.capacity, "enemy", "nonsense")
    client.hset(KEYS.expiries, "enemy:0", "nonsense")
    client.hset(redis_keys.reaper("main"), mapping={"tick_ms": "x", "owner_until_ms": "x", "owner": "x"})
    client.set(KEYS.shortage, "nonsense")
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(50)])
    command = place.run("run", "in.jsonl", "--workers", "--log-level", "info", KEYFLEET_BROKER_URL=broker.url)
    assert command.code == 0, command.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == dict.fromkeys(range(50), 1)
    assert sim.stats()["requests"] == 50
    ended: Any = client.xrange(redis_keys.job_outcomes("main", "enemy"))
    names = {entry[b"request"] for _, entry in ended}
    expected = {f"enemy:{number}".encode() for number in range(len(HOSTILE_RECORDS) + len(HOSTILE_PLACES))}
    assert names == expected | {b"enemy:\xff\xfe"}
    codes = {error["code"] for _, entry in ended for error in json.loads(entry[b"outcome"])["errors"]}
    assert codes == {"malformed_entry"}
    assert client.hlen(KEYS.requests) == 0


def log_of_workers(place: Place) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in place.state_dir.rglob("workers-*.log"))


def test_a_line_whose_entry_was_spoilt_ends_as_an_error_in_the_output(
    place: Place, start_sim: StartSim, broker: ServerProcess, client: redis.Redis
) -> None:
    key = sim_key("one")
    sim = start_sim(SimConfig(keys=(key,)))
    path = write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, 21)])
    waiting = place.start("run", str(path), "--no-workers", KEYFLEET_BROKER_URL=broker.url)
    place.write_keys(sim, (key,))
    wait_until(lambda: client.hlen(KEYS.requests) == 20, "all lines are accepted")
    found: dict[bytes, bytes] = client.hgetall(KEYS.requests)  # type: ignore[assignment]
    spoilt = sorted(found, key=lambda name: int(name.partition(b":")[2]))[:3]
    for name, text in zip(spoilt, (b"x\n" + BODY, record(v=9), b""), strict=True):
        client.hset(KEYS.requests, name, text)  # type: ignore[arg-type]
    worker = place.start("worker", "--key", "one", "--broker", broker.url)
    assert waiting.wait() == 1
    rows = rows_of(place.directory / "in_results.jsonl")
    assert len(rows) == 20
    failed = [answer[0] for _, answer, *_ in rows if isinstance(answer, list)]
    assert len(failed) == 3
    assert all(text.startswith("malformed_entry: ") for text in failed)
    assert any("version 9" in text for text in failed)
    assert sim.stats()["requests"] == 17
    assert worker.code is None
    assert worker.stderr.count("a request in the broker is refused") == 3


@pytest.fixture
def slow_job(place: Place, start_sim: StartSim, broker: ServerProcess) -> Path:
    """A job of 30 lines in the place; its answers take a moment."""
    key = sim_key("one", "20/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,), latency=SimLatency(latency_ms=100))), (key,))
    return write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, 31)])


def job_of(client: redis.Redis) -> str:
    def job() -> str | None:
        found: Any = client.smembers(redis_keys.jobs("main"))
        return next((name.decode() for name in found), None)

    return wait_until(job, "the job is open") or ""


def test_outcomes_that_can_not_be_read_are_counted_and_no_line_is_lost_by_them(
    place: Place, slow_job: Path, broker: ServerProcess, client: redis.Redis
) -> None:
    command = place.start("run", str(slow_job), "--workers", KEYFLEET_BROKER_URL=broker.url)
    job = job_of(client)
    stream = redis_keys.job_outcomes("main", job)
    wait_until(lambda: len(list(client.hscan_iter(KEYS.requests))) > 3, "lines are under way")
    held = next(iter(client.hkeys(KEYS.requests)))  # type: ignore[arg-type]
    for request in (held, f"{job}:30".encode(), b"\xff", b"no-job", f"{job}:x".encode(), f"{job}:-1".encode()):
        for outcome in (b"nonsense", b"[" * 100_000, b'{"ok":"yes"}', b'{"ok":true,"attempts":-1,"finished_s":1}'):
            client.xadd(stream, {"request": request, "outcome": outcome, "body": b"{}", "record": b"{}\n{}"})
    client.xadd(stream, {"something": "else"})
    assert command.wait() == 0, command.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == dict.fromkeys(range(1, 31), 1)
    assert command.said("can't be read")


def test_a_line_whose_outcome_can_not_be_read_ends_as_an_error(
    place: Place, slow_job: Path, broker: ServerProcess, client: redis.Redis
) -> None:
    command = place.start("run", str(slow_job), "--no-workers", KEYFLEET_BROKER_URL=broker.url)
    job = job_of(client)
    wait_until(lambda: client.hlen(KEYS.requests) == 30, "all lines are accepted")
    name = f"{job}:7"
    pipeline = client.pipeline()
    for key in (KEYS.requests, KEYS.places):
        pipeline.hdel(key, name)
    pipeline.zrem(KEYS.ready_bulk, name)
    entry = {"request": name, "outcome": "nonsense", "body": b"{}", "record": b"{}\n" + BODY}
    pipeline.xadd(redis_keys.job_outcomes("main", job), entry)  # type: ignore[arg-type]
    pipeline.execute()
    place.start("worker", "--key", "one", "--broker", broker.url)
    assert command.wait() == 1, command.stderr
    rows = rows_of(place.directory / "in_results.jsonl")
    assert [answer[0].partition(":")[0] for _, answer, *_ in rows if isinstance(answer, list)] == ["malformed_outcome"]
    assert len(rows) == 30


def test_an_outcome_of_a_later_version_is_left_for_a_later_keyfleet(
    place: Place, slow_job: Path, broker: ServerProcess, client: redis.Redis
) -> None:
    command = place.start("run", str(slow_job), "--no-workers", KEYFLEET_BROKER_URL=broker.url)
    stream = redis_keys.job_outcomes("main", job_of(client))
    outcome = json.dumps({"v": 3, "ok": True, "attempts": 1, "finished_s": 1})
    client.xadd(stream, {"request": f"{job_of(client)}:1", "outcome": outcome, "body": "{}", "record": "{}\n{}"})
    assert command.wait() == 2
    assert "upgrade it" in command.stderr
    assert client.xlen(stream) == 1
