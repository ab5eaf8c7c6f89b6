"""A server whose memory is full, in every phase of a job: what it holds drains, and nothing is lost."""

from __future__ import annotations

import signal

import pytest

from keyfleet.redis_keys import QueueKeys
from support import bare_line, sim_key, wait_until, write_lines
from support.fleet_job import FLEET, QUEUE, FleetJob, StartJob

AMPLE = (sim_key("a", "1000/1 second"), sim_key("b", "1000/1 second"))


def assert_drained(job: FleetJob) -> None:
    """The server is still full of nothing: it refuses whatever is new, and holds no request any more."""
    assert job.broker.is_full()
    with job.broker.client() as client:
        keys = QueueKeys(FLEET, QUEUE)
        assert not client.exists(keys.requests, keys.places, keys.ready_bulk, keys.running, keys.leases, keys.delayed)
        assert not list(client.scan_iter("*:outcomes"))


def test_a_run_that_meets_a_full_server_goes_on_once_there_is_room(start_job: StartJob) -> None:
    job = start_job(lines=60, keys=AMPLE)
    job.broker.fill()
    command = job.start_run()
    with job.broker.client() as client:
        looks = "cmdstat_info"
        wait_until(lambda: client.info("commandstats")[looks]["calls"] > 8, "the run looks for room, again and again")
        assert not client.exists(QueueKeys(FLEET, QUEUE).requests)
    job.broker.make_room()
    job.start_workers()
    job.assert_all_ends(command)


def test_a_job_far_larger_than_the_servers_memory_runs_through_it(start_job: StartJob) -> None:
    job = start_job(lines=400, keys=AMPLE, latency_ms=20)
    text = "x" * 20_000
    write_lines(job.place.directory / "in.jsonl", [bare_line(number, user=text) for number in range(1, job.lines + 1)])
    job.start_workers()
    job.broker.fill(spare_bytes=1_500_000)
    command = job.start_run()
    with job.broker.client() as client:
        wait_until(lambda: job.written or command.code is not None, "the job is under way")
        limit_bytes = int(client.config_get("maxmemory")["maxmemory"])
        assert (job.place.directory / "in.jsonl").stat().st_size > 2 * limit_bytes
    job.assert_all_ends(command)


def test_calls_in_flight_end_and_are_collected_while_the_server_is_full(start_job: StartJob) -> None:
    job = start_job(lines=30, keys=AMPLE, latency_ms=3000)
    job.start_workers()
    command = job.start_run()
    wait_until(lambda: job.in_flight == job.lines, "all are in flight")
    job.broker.fill()
    assert job.broker.is_full()
    stats = job.assert_all_ends(command)
    assert stats["requests"] == job.lines
    assert_drained(job)


def test_outcomes_that_wait_in_a_full_server_are_collected(start_job: StartJob) -> None:
    job = start_job(lines=300, keys=AMPLE, latency_ms=300)
    job.start_workers()
    command = job.start_run()
    wait_until(lambda: job.in_flight, "calls are under way")
    command.signal(signal.SIGSTOP)
    wait_until(lambda: job.sim.stats()["by_status"].get("200", 0) >= 60, "outcomes wait")
    job.broker.fill()
    assert job.broker.is_full()
    command.signal(signal.SIGCONT)
    job.assert_all_ends(command)
    assert_drained(job)


@pytest.mark.parametrize("phase", ["in flight", "collecting"])
def test_a_run_that_was_killed_is_resumed_on_a_full_server(start_job: StartJob, phase: str) -> None:
    job = start_job(lines=30, keys=AMPLE, latency_ms=3000)
    job.start_workers()
    command = job.start_run()
    wait_until(lambda: job.in_flight == job.lines, "all are in flight")
    command.signal(signal.SIGKILL)
    command.wait()
    if phase == "collecting":
        wait_until(lambda: not job.in_flight, "all outcomes wait")
    job.broker.fill()
    assert job.broker.is_full()
    job.assert_all_ends(job.start_run())
    assert_drained(job)


def test_workers_that_are_started_on_a_full_server_drain_it(start_job: StartJob) -> None:
    job = start_job(lines=60, keys=AMPLE, latency_ms=50)
    command = job.start_run()
    with job.broker.client() as client:
        wait_until(lambda: client.hlen(QueueKeys(FLEET, QUEUE).requests) == job.lines, "the job is accepted")
    job.broker.fill()
    assert job.broker.is_full()
    for key in job.keys:
        job.workers[key.name] = job.start_worker(key)
    job.assert_all_ends(command)
    assert_drained(job)
