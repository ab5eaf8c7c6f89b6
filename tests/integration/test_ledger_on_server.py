"""The ledger on a real server: several workers at once, and a server that is full."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import cast

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import connect
from keyfleet.contract import AttemptError, Outcome, Request
from keyfleet.embedded import EmbeddedServer
from keyfleet.jobs import pause_job, resume_job
from keyfleet.ledger import Finish, JobLedger, JobOptions, Retry, Transitions, Withdrawn
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.binding import Quota
from keyfleet_workers.dispatch.taker import Taker
from keyfleet_workers.holds import Holds, KeyScopes, KeyState
from keyfleet_workers.key_leases import KeyLeases
from keyfleet_workers.key_return import call_back
from keyfleet_workers.limiter import ExactRedisStorage, QuotaLimit, Settlement
from keyfleet_workers.metrics.fleet_collector import FleetCollector

LEASE_MS = 30_000
SCOPES = KeyScopes("fingerprint", None, "host")
ERROR = AttemptError(500, "http_500", "made up")
NO_QUOTA = Quota("none", ())


def requests(count: int, first: int = 0, *, body: bytes = b"{}") -> list[Request]:
    return [
        Request(str(first + n), "/v1/x", "m", body, 10, {"custom_id": f"c{n}"}, urgent=n % 5 == 0) for n in range(count)
    ]


def outcome(key: str, ok: bool = True) -> Outcome:
    return Outcome(key, ok, 200 if ok else 500, b"{}" if ok else None, 1, () if ok else (ERROR,))


class Worker:
    """One worker's way to the ledger, on a connection of its own."""

    def __init__(self, url: str, name: str) -> None:
        self.client = connect(url)
        self.transitions = Transitions(self.client, "f", lease_ms=LEASE_MS)
        self.taker = Taker(self.client, "f", worker_id=name, key_name="one", scopes=SCOPES, lease_ms=LEASE_MS)

    def take(self, most: int) -> list[tuple[str, str]]:
        return [(one.key, one.token) for one in self.taker.take("q", NO_QUOTA, most).taken]

    def finish(self, key: str, token: str, ok: bool) -> int:
        (written,) = self.transitions.finish("q", "job", [Finish(key, token, outcome(key, ok))])
        return int(written)

    def work(self, seed: int, written: list[str]) -> None:
        """Take until nothing is left; hand back, retry, fail and succeed, sometimes twice."""
        chance = random.Random(seed)
        idle = 0
        while idle < 50:
            taken = self.take(chance.randint(1, 8))
            idle = 0 if taken else idle + 1
            for key, token in taken:
                self.end(chance.random(), key, token, written)
            self.transitions.reap("q", self.transitions.tick("w0"))

    def end(self, dice: float, key: str, token: str, written: list[str]) -> None:
        if dice < 0.2:
            self.transitions.hand_back("q", [(key, token)])
        elif dice < 0.3:
            self.transitions.retry("q", [Retry(key, token, 0, (ERROR,))])
        elif dice < 0.5:
            self.transitions.hand_back("q", [(key, token)])  # as if its lease had passed on
            if self.finish(key, "", True) == 1:
                written.append(key)
        else:
            if self.finish(key, token if dice < 0.6 else "", dice >= 0.6) == 1:
                written.append(key)
            assert self.finish(key, "", True) == 0


@pytest.fixture
def job(client: redis.Redis) -> JobLedger:
    job = JobLedger(client, "f", "job", JobOptions())
    job.open()
    return job


@pytest.fixture
def worker(server: EmbeddedServer, client: redis.Redis) -> Iterator[Worker]:
    worker = Worker(server.url, "w")
    yield worker
    worker.client.close()


def test_many_workers_together_end_each_request_once(server: EmbeddedServer, job: JobLedger) -> None:
    job.accept("q", requests(400))
    written: list[str] = []
    workers = [Worker(server.url, f"w{n}") for n in range(4)]
    threads = [threading.Thread(target=worker.work, args=(n, written)) for n, worker in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.client.close()
    ends = Counter(one.id for _, one in job.outcomes("0", count=10_000))
    assert ends == Counter({str(n): 1 for n in range(400)})
    assert sorted(written) == sorted(f"job:{n}" for n in range(400))
    assert job.depths("q") == {"ready": 0, "running": 0, "delayed": 0}


def test_no_request_is_leased_to_two_workers(server: EmbeddedServer, job: JobLedger) -> None:
    job.accept("q", requests(500))
    workers = [Worker(server.url, f"w{n}") for n in range(4)]
    taken: list[tuple[str, str]] = []

    def take_all(worker: Worker) -> None:
        while found := worker.take(7):
            taken.extend(found)

    threads = [threading.Thread(target=take_all, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.client.close()
    assert len(taken) == len({key for key, _ in taken}) == len({token for _, token in taken}) == 500


def test_an_outcome_wakes_the_collector_that_waits_for_it(worker: Worker, job: JobLedger) -> None:
    job.accept("q", requests(1))
    found: list[str] = []

    def collect() -> None:
        found.extend(one.id for _, one in job.outcomes("0", count=10, block_ms=30_000))

    collector = threading.Thread(target=collect)
    collector.start()
    ((key, _),) = worker.take(1)
    worker.finish(key, "", True)
    collector.join(30)
    assert found == ["0"]


def test_scripts_survive_a_server_that_forgot_them(worker: Worker, job: JobLedger) -> None:
    job.accept("q", requests(2))
    (first, _), (second, token) = worker.take(2)
    worker.client.script_flush()
    pipeline = worker.client.pipeline(transaction=False)
    worker.transitions.finish("q", "job", [Finish(first, "", outcome(first))], pipeline)
    worker.transitions.hand_back("q", [(second, token)], pipeline)
    pipeline.execute()
    assert job.depths("q") == {"ready": 1, "running": 0, "delayed": 0}


def test_a_full_server_refuses_new_requests_having_written_nothing(client: redis.Redis, job: JobLedger) -> None:
    job.accept("q", requests(3))
    before = client.dump(QueueKeys("f", "q").places)
    client.config_set("maxmemory", "1mb")
    for queue in ("q", "new"):
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            job.accept(queue, requests(5, first=10, body=b"x" * 1000))
    assert client.dump(QueueKeys("f", "q").places) == before
    assert client.exists(QueueKeys("f", "new").requests, QueueKeys("f", "new").places) == 0
    assert job.queue_names() == ["q"]


def test_on_a_full_server_jobs_are_paused_and_resumed_and_keys_called_back(client: redis.Redis, job: JobLedger) -> None:
    job.accept("q", requests(3))
    client.config_set("maxmemory", "1mb")
    assert pause_job(client, "f", "job") == 3
    assert job.depths("q") == {"ready": 0, "running": 0, "delayed": 3}
    assert resume_job(client, "f", "job")
    call_back(client, "f", ["one", "two"])
    leases = KeyLeases(partial(redis.Redis, connection_pool=client.connection_pool), "f", lease_ms=1000)
    assert set(leases.called_back_s(["one", "two", "three"])) == {"one", "two"}
    leases.tell_configured(["one", "two"])
    assert client.zcard(redis_keys.configured("f")) == 2


def test_on_a_full_server_one_process_still_tells_of_the_fleet_and_another_takes_over(client: redis.Redis) -> None:
    first, second = FleetCollector(client, "f"), FleetCollector(client, "f")
    client.config_set("maxmemory", "1mb")
    assert tells_of_jobs(first)
    assert tells_of_jobs(first)
    assert not tells_of_jobs(second)
    first.give_up_turn()
    assert tells_of_jobs(second)


def tells_of_jobs(collector: FleetCollector) -> bool:
    return "keyfleet_jobs" in {family.name for family in collector.collect()}


def test_a_full_server_still_empties(client: redis.Redis, worker: Worker, job: JobLedger) -> None:
    limits = (QuotaLimit("quota:r", "requests", 50, 60_000, 0), QuotaLimit("quota:t", "tokens", 900, 60_000, 0))
    quota = Quota("quota", limits)
    storage = ExactRedisStorage("keyfleet+unix://", connection_pool=client.connection_pool)
    job.accept("q", requests(7))
    client.config_set("maxmemory", "1mb")

    result = worker.taker.take("q", quota, 6)
    taken = [(one.key, one.token) for one in result.taken]
    assert len(taken) == 6
    assert worker.transitions.renew("q", taken) == [True] * 6
    assert worker.finish(*taken[0], ok=True) == 1
    assert worker.finish(*taken[1], ok=False) == 1
    assert worker.transitions.hand_back("q", [taken[2]]) == 1
    assert worker.transitions.retry("q", [Retry(*taken[3], 0, (ERROR,))]) == 1
    reaped = worker.transitions.reap("q", worker.transitions.tick("w"))
    assert (reaped.moved, reaped.lacking_tickets) == (1, 1)
    granted_ms = result.grant.granted_ms
    storage.settle(limits, [Settlement(granted_ms, granted_ms, (1, 10), (0, 5))])
    assert [used for used, _ in storage.inspect(limits, [0, 0])] == [6, 65]
    assert storage.reserve(limits, [[1, 10]]).granted == 1
    assert Holds(client).set(SCOPES.failing, KeyState.COOLING, "busy", 5000)
    assert b"cooling" in cast(bytes, client.get(redis_keys.hold(SCOPES.failing)))
    assert job.withdraw("q", ["6"]) == [Withdrawn.WITHDRAWN]
    assert len(job.outcomes("0", count=10)) == 2
    job.trim(job.outcomes("0", count=10)[-1][0])
    assert job.outcomes("0", count=10) == []


def test_a_job_opened_again_loses_nothing(worker: Worker, job: JobLedger) -> None:
    job.accept("q", requests(2))
    ((key, _),) = worker.take(1)
    worker.finish(key, "", True)
    job.open()
    assert len(list(job.open_ids("q"))) == 1
    assert len(job.outcomes("0", count=10)) == 1
    assert job.is_known()
    job.close()
    assert not job.is_known()


def test_open_ids_of_a_large_queue_are_complete(job: JobLedger) -> None:
    for first in range(0, 6000, 500):
        job.accept("q", requests(500, first))
    assert set(job.open_ids("q")) == {str(number) for number in range(6000)}
