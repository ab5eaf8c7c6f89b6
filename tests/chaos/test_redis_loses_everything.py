"""A server that loses all its data in mid-job: wiped under everybody's eyes, or gone with its host."""

from __future__ import annotations

import signal

from support import wait_until
from support.fleet_job import StartJob


def test_a_job_goes_on_when_its_server_is_wiped_and_nothing_in_flight_is_paid_for_twice(start_job: StartJob) -> None:
    job = start_job(lines=200, latency_ms=600)
    job.start_workers()
    command = job.start_run()
    job.wait_until_written(0.3)
    assert job.in_flight
    with job.broker.client() as client:
        client.flushall()
    job.assert_all_ends(command)


def test_a_job_goes_on_when_its_server_comes_back_empty(start_job: StartJob) -> None:
    job = start_job(lines=200, latency_ms=600)
    job.start_workers()
    command = job.start_run()
    job.wait_until_written(0.3)
    assert job.in_flight
    job.broker.lose_everything()
    job.broker.start()
    job.assert_all_ends(command)


def test_calls_that_outlast_the_recovery_of_a_server_that_lost_everything_are_made_once(start_job: StartJob) -> None:
    job = start_job(lines=20, latency_ms=5500, jitter_ms=0)
    job.start_workers()
    command = job.start_run()
    wait_until(lambda: job.in_flight == job.lines, "all are in flight")
    job.broker.lose_everything()
    job.broker.start()
    stats = job.assert_all_ends(command)
    assert stats["requests"] == job.lines


def test_the_same_command_goes_on_from_its_files_when_the_server_and_the_run_are_gone(start_job: StartJob) -> None:
    job = start_job(lines=300)
    job.start_workers()
    command = job.start_run()
    job.wait_until_written(0.3)
    command.signal(signal.SIGKILL)
    command.wait()
    wait_until(lambda: job.in_flight == 0, "what was in flight is answered, and waits in the server")
    written = job.written
    uncollected = job.sim.stats()["by_status"]["200"] - written
    job.broker.lose_everything()
    job.broker.start()
    job.assert_all_ends(job.start_run(), repeats=uncollected)
