"""Several faults of the server in one job, one upon the other."""

from __future__ import annotations

import signal
import threading

from keyfleet import redis_keys
from keyfleet.ticket_message import BULK
from support import sim_key
from support.fleet_case import LEASE_S
from support.fleet_job import FLEET, QUEUE, StartJob
from support.process_trees import kill_tree

KEYS = (sim_key("a", "50/1 second"), sim_key("b", "50/1 second"))


def test_a_job_survives_one_fault_of_its_server_after_the_other(start_job: StartJob) -> None:
    job = start_job(lines=500, keys=KEYS)
    job.start_workers()
    command = job.start_run()
    job.wait_until_written(0.1)
    job.broker.kill()
    job.broker.start()
    job.wait_until_written(0.25)
    with job.broker.client() as client:
        client.delete(redis_keys.tickets(FLEET, QUEUE, BULK))
    job.broker.fill()
    job.wait_until_written(0.4)
    job.broker.make_room()
    job.broker.freeze()
    threading.Event().wait(LEASE_S)  # time itself is what is tested here
    job.broker.wake()
    job.wait_until_written(0.55)
    mark = job.broker.written_bytes()
    threading.Event().wait(1.0)  # what is written meanwhile is lost
    assert job.broker.lose_power(mark)
    job.broker.start()
    job.assert_all_ends(command)


def test_a_job_survives_the_end_of_server_workers_and_run_at_once(start_job: StartJob) -> None:
    job = start_job(lines=400, keys=KEYS)
    job.start_workers()
    command = job.start_run()
    job.wait_until_written(0.3)
    before = job.sim.stats()
    command.signal(signal.SIGKILL)
    command.wait()
    for worker in job.workers.values():
        kill_tree(worker.pid)
    may_repeat = before["in_flight"] + job.sim.stats()["requests"] - before["requests"]
    job.broker.kill()
    job.broker.start()
    job.start_workers()
    assert job.written < job.lines
    job.assert_all_ends(job.start_run(), repeats=may_repeat)
