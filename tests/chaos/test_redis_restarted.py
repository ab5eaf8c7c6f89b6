"""A shared server that is killed and started again, loses its last seconds, or stands still, while all of it runs."""

from __future__ import annotations

import threading

import pytest

from support import wait_until
from support.fleet_case import LEASE_S
from support.fleet_job import StartJob

POWER_LOSS_S = 1.8
"""What a server that syncs every second may lose is less than two seconds; this much of it is cut off (s)."""


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_a_job_survives_a_server_that_is_killed_and_started_again_and_again(start_job: StartJob, fsync: str) -> None:
    job = start_job(fsync=fsync)
    job.start_workers()
    command = job.start_run()
    starts = {job.broker.run_id()}
    for share in (0.1, 0.35, 0.6):
        job.wait_until_written(share)
        job.broker.kill()
        job.broker.start()
        starts.add(job.broker.run_id())
    job.assert_all_ends(command)
    assert len(starts) == 4


def test_a_job_survives_a_server_that_lost_the_last_seconds_of_what_it_wrote(start_job: StartJob) -> None:
    job = start_job()
    job.start_workers()
    command = job.start_run()
    job.wait_until_written(0.2)
    before, mark, written = job.broker.run_id(), job.broker.written_bytes(), job.written
    threading.Event().wait(POWER_LOSS_S)  # time itself is what is tested here
    assert job.written > written  # so the server will hold again what is done
    assert job.broker.lose_power(mark) > 10_000
    job.broker.start()
    assert job.broker.run_id() != before
    job.assert_all_ends(command)


def test_a_job_survives_the_loss_of_power_while_it_is_fed(start_job: StartJob) -> None:
    job = start_job()
    job.start_workers()
    mark = job.broker.written_bytes()
    command = job.start_run()
    wait_until(lambda: job.sim.stats()["requests"] > 20, "calls were made")
    assert job.broker.lose_power(mark) > 10_000
    job.broker.start()
    job.assert_all_ends(command)


def test_a_server_that_stood_still_for_longer_than_leases_goes_on_and_nothing_is_sent_twice(
    start_job: StartJob,
) -> None:
    job = start_job(lines=300)
    job.start_workers()
    command = job.start_run()
    job.wait_until_written(0.3)
    job.broker.freeze()
    threading.Event().wait(3 * LEASE_S)  # time itself is what is tested here
    assert job.written < job.lines
    job.broker.wake()
    job.assert_all_ends(command)
