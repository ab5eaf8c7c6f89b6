"""The broker's messages, which are only hints: lost and doubled."""

from __future__ import annotations

from keyfleet import redis_keys
from keyfleet.ticket_message import BULK, PRIORITIES
from support import wait_until
from support.fleet_job import FLEET, QUEUE, StartJob

TICKETS = [redis_keys.tickets(FLEET, QUEUE, priority) for priority in PRIORITIES]


def test_a_job_whose_messages_are_lost_again_and_again_is_done(start_job: StartJob) -> None:
    job = start_job()
    lost = 0
    with job.broker.client() as client:
        command = job.start_run()
        wait_until(lambda: client.llen(redis_keys.tickets(FLEET, QUEUE, BULK)), "messages stand in the queue")
        lost += client.delete(*TICKETS)
        job.start_workers()
        for share in (0.2, 0.4, 0.6, 0.8):
            job.wait_until_written(share)
            lost += client.delete(*TICKETS)
        job.assert_all_ends(command)
    assert lost


def test_a_job_whose_messages_are_doubled_sends_nothing_twice(start_job: StartJob) -> None:
    job = start_job()
    doubled = 0
    with job.broker.client() as client:
        command = job.start_run()
        key = redis_keys.tickets(FLEET, QUEUE, BULK)
        wait_until(lambda: client.llen(key) >= 4, "messages stand in the queue")
        for _ in range(5):  # each time twice as many
            if messages := client.lrange(key, 0, -1):
                client.rpush(key, *messages)
                doubled += len(messages)
        job.start_workers()
        job.assert_all_ends(command)
    assert doubled >= 100
