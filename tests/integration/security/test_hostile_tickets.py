"""What somebody writes into a queue that is no ticket: it is refused, counted and shown, and stops no worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import celery_url
from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions, queue_of
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig
from keyfleet.ticket_message import CONTRACT_HEADER, TASK_NAME
from keyfleet.tickets import TicketOffice, make_app
from support import Command, Place, ServerProcess, sim_key, wait_until
from support.fixtures import StartSim

MODEL = "sim-model"
MARKER = "do-not-show-me-in-a-log"


def message(arguments: Any = (1,), named: Any = None, **changed: Any) -> dict[str, Any]:
    """A message as Celery writes it, with a marker wherever a log might take something from."""
    body = json.dumps([arguments, {} if named is None else named, {"callbacks": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK_NAME, "id": "some-id", "argsrepr": MARKER, **changed.pop("headers", {})},
        "properties": {
            "delivery_tag": "some-tag",
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "elsewhere"},
            **changed.pop("properties", {}),
        },
        **changed,
    }


def arguments_of(*values: Any) -> bytes:
    return json.dumps(message(values)).encode()


HOSTILE: dict[str, bytes] = {
    "a text": arguments_of(MARKER),
    "a negative number": arguments_of(-1),
    "an immense number": arguments_of(10**12),
    "a nested list": arguments_of([[1]]),
    "true": arguments_of(True),
    "nothing": arguments_of(),
    "too many": arguments_of(1, 2),
    "named arguments": json.dumps(message((1,), {"count": 1, "x": MARKER})).encode(),
    "a task that is unknown": json.dumps(message(headers={"task": f"os.{MARKER}"})).encode(),
    "a later version": json.dumps(message(headers={CONTRACT_HEADER: 3})).encode(),
    "a version that is none": json.dumps(message(headers={CONTRACT_HEADER: MARKER})).encode(),
    "a long id": json.dumps(message(headers={"id": MARKER * 10})).encode(),
    "pickle": json.dumps(message(**{"content-type": "application/x-python-serialize"})).encode(),
    "yaml": json.dumps(message(**{"content-type": "application/x-yaml"})).encode(),
    "compressed": json.dumps(message(headers={"compression": "application/x-gzip"})).encode(),
    "no base64": json.dumps(message(body=f"%%{MARKER}")).encode(),
    "a body that is no JSON": json.dumps(message(body=base64.b64encode(MARKER.encode()).decode())).encode(),
    "no headers": json.dumps(message() | {"headers": None}).encode(),
    "no properties": json.dumps({"body": MARKER}).encode(),
    "a list": json.dumps([MARKER]).encode(),
    "no JSON": MARKER.encode(),
    "no text": b"\xff\xfe" + MARKER.encode(),
    "an empty text": b"",
    "an object of an unknown type": json.dumps({"__type__": MARKER, "__value__": 1}).encode(),
    "deeply nested": b"[" * 200_000,
    "5 MB": arguments_of("x" * 5_000_000),
    "of Celery's first protocol": json.dumps({"task": TASK_NAME, "id": "x", "args": [1], "kwargs": {}}).encode(),
}


@pytest.fixture
def client(broker: ServerProcess) -> Iterator[redis.Redis]:
    """A client of the broker."""
    with broker.client() as client:
        yield client


class WorkerUnderFire:
    """A worker of one key, and the means to see that it works."""

    def __init__(self, command: Command, client: redis.Redis, url: str) -> None:
        self.command = command
        self.client = client
        self.ledger = JobLedger(client, "main", "job", JobOptions())
        self.ledger.open()
        self.queue = queue_of(MODEL)
        self._office = TicketOffice(make_app(celery_url(url), "main"))
        self._count = 0

    def work(self, *, with_ticket: bool = True) -> None:
        """One request through it."""
        self._count += 1
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": str(self._count)}]}).encode()
        self.ledger.accept(self.queue, [Request(str(self._count), "/v1/chat/completions", MODEL, body, 10)])
        if with_ticket:
            self._office.issue(self.queue)
        self.wait_for_outcome(str(self._count))

    def wait_for_outcome(self, request_id: str) -> None:
        def is_there() -> bool:
            assert self.command.code is None, self.command.stderr
            return any(outcome.id == request_id for _, outcome in self.ledger.outcomes("0", count=10_000))

        wait_until(is_there, f"request {request_id} has its outcome")

    def push(self, data: bytes, priority: int = 9) -> None:
        self.client.lpush(redis_keys.tickets("main", self.queue, priority), data)

    def standing(self) -> int:
        lengths: list[Any] = [self.client.llen(redis_keys.tickets("main", self.queue, one)) for one in (0, 9)]
        return sum(lengths)

    def refused(self) -> int:
        return sum(worker.totals.get("refused", 0) for worker in read_fleet_status(self.client, "main").workers)

    def wait_until_refused(self, count: int) -> None:
        wait_until(lambda: self.refused() >= count, f"{count} were refused and counted", timeout_s=20.0)

    def end(self) -> None:
        self._office.close()


@pytest.fixture
def worker(place: Place, start_sim: StartSim, broker: ServerProcess, client: redis.Redis) -> Iterator[WorkerUnderFire]:
    """A worker that has done its first request."""
    key = sim_key("one")
    place.write_keys(start_sim(SimConfig(keys=(key,))), (key,))
    arguments = ("worker", "--key", "one", "--log-level", "debug", "--broker", broker.url)
    under_fire = WorkerUnderFire(place.start(*arguments), client, broker.url)
    under_fire.work()
    yield under_fire
    under_fire.end()


def test_what_is_no_ticket_is_refused_counted_and_shown_and_the_worker_works_on(worker: WorkerUnderFire) -> None:
    for data in HOSTILE.values():
        worker.push(data)
        worker.push(data, priority=0)
    worker.wait_until_refused(2 * len(HOSTILE))
    assert worker.refused() == 2 * len(HOSTILE)
    for _ in range(3):
        worker.work()
    said = worker.command.stderr
    assert said.count("a message in a queue is refused") == 2 * len(HOSTILE)
    assert MARKER not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("field", [{"eta": "2999-01-01T00:00:00"}, {"expires": "1999-01-01T00:00:00"}, {"retries": 9}])
def test_a_ticket_that_asks_celery_for_more_is_only_a_ticket(worker: WorkerUnderFire, field: dict[str, Any]) -> None:
    embed = {"callbacks": [{"task": MARKER}], "chain": [{"task": MARKER}]}
    body = base64.b64encode(json.dumps([[1], {}, embed]).encode()).decode()
    for _ in range(20):
        worker.push(json.dumps(message(body=body, headers={**field, "shadow": MARKER})).encode())
    wait_until(lambda: not worker.standing(), "all tickets were served")
    worker.work()
    assert worker.refused() == 0
    assert MARKER not in worker.command.stderr


def test_a_queue_that_is_no_list_stops_no_other(worker: WorkerUnderFire, client: redis.Redis) -> None:
    key = redis_keys.tickets("main", queue_of("another-model"), 9)
    client.set(key, MARKER)
    client.sadd(redis_keys.queues("main"), queue_of("another-model"), b"\xff\xfe", b"", b"no queue")
    worker.wait_until_refused(1)
    worker.work()
    client.delete(key)
    worker.work()
    assert MARKER not in worker.command.stderr


def test_what_is_said_to_all_workers_and_makes_no_sense_stops_none(
    worker: WorkerUnderFire, client: redis.Redis
) -> None:
    everybody = f"{redis_keys.tickets_prefix('main')}/0.celery.pidbox"
    for data in (b"x", b"[]", b"{}", b"[" * 200_000, json.dumps(message()).encode(), HOSTILE["pickle"]):
        assert client.publish(everybody, data) == 1
    for _ in range(3):
        worker.work()
