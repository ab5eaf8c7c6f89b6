"""Listing, finding, cancelling and removing jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyfleet import redis_keys
from keyfleet.errors import JobNotFound
from keyfleet.jobs import (
    OpenCounts,
    Purged,
    cancel_job,
    find_job,
    fleets_with_jobs,
    forget_fleet,
    list_jobs,
    purge_abandoned,
    purge_abandoned_runs,
    purge_job,
    run_fleet,
)
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.redis_keys import QueueKeys
from support.job_case import FLEET, JobCase

if TYPE_CHECKING:
    from support.stand_in import StandIn

DAY_MS = 86_400_000


@pytest.fixture
def case(stand_in: StandIn) -> JobCase:
    return JobCase(stand_in)


def purge(case: JobCase, *, force: bool = False) -> Purged:
    return purge_job(case.client, case.record(), force=force, declare_flags=False)


def abandon(case: JobCase, older_than_ms: int = DAY_MS) -> int:
    return purge_abandoned(case.client, FLEET, older_than_ms, declare_flags=False)


def test_jobs_are_listed_with_what_is_open_the_newest_first(stand_in: StandIn, case: JobCase) -> None:
    case.clock.advance_ms(1000)
    other = JobCase(stand_in, "bb22", case.client)
    case.accept(*range(1200))
    case.hold(3)
    case.hold(4)
    case.delay(5)
    other.accept(1)
    first, second = list_jobs(case.client, FLEET)
    assert (first.record.job_id, first.open) == ("bb22", OpenCounts(ready=1))
    assert (second.record.job_id, second.open) == ("aa11", OpenCounts(ready=1197, running=2, delayed=1))


def test_a_job_whose_record_has_expired_is_no_longer_known(case: JobCase) -> None:
    case.client.delete(redis_keys.job(FLEET, "aa11"))
    assert list_jobs(case.client, FLEET) == []
    assert not case.client.exists(redis_keys.jobs(FLEET))


def test_a_job_is_found_by_its_id_or_its_beginning_or_its_files(stand_in: StandIn, case: JobCase) -> None:
    JobCase(stand_in, "aa22", case.client)
    records = list(read_records(case.client, FLEET))
    for name in ("aa11", "aa1", "/in/aa11.jsonl", "/out/aa11.jsonl", "/in/../out/aa11.jsonl"):
        assert find_job(records, name).job_id == "aa11"
    with pytest.raises(JobNotFound, match=r"aa: several jobs begin like that \(aa11, aa22\)"):
        find_job(records, "aa")
    for name in ("cc", "", "/in/other.jsonl"):
        with pytest.raises(JobNotFound, match="no such job"):
            find_job(records, name)


def test_of_several_jobs_with_one_file_the_newest_is_meant_or_that_which_is_no_retry(
    stand_in: StandIn, case: JobCase
) -> None:
    case.clock.advance_ms(1000)
    retry = JobCase(stand_in, "bb22", case.client)
    fields = {"output": case.facts.output, "retry_of": "aa11"}
    retry.client.hset(redis_keys.job(FLEET, "bb22"), mapping=fields)
    records = list(read_records(case.client, FLEET))
    assert find_job(records, case.facts.output).job_id == "bb22"
    assert find_job(records, case.facts.output, prefers_whole=True).job_id == "aa11"


def test_cancelling_takes_back_all_that_no_worker_holds(case: JobCase) -> None:
    case.accept(*range(1200))
    case.hold(3)
    case.delay(5)
    cancelled = cancel_job(case.client, FLEET, "aa11", declare_flags=False)
    assert (cancelled.state, cancelled.withdrawn, cancelled.in_flight) == ("cancelled", 1199, 1)
    assert case.client.hlen(QueueKeys(FLEET, "m").requests) == 1


def test_cancelling_leaves_other_jobs_alone(stand_in: StandIn, case: JobCase) -> None:
    other = JobCase(stand_in, "aa112", case.client)
    other.accept(1, 2)
    case.accept(1)
    assert cancel_job(case.client, FLEET, "aa11", declare_flags=False).withdrawn == 1
    assert sorted(other.ledger.open_ids("m")) == ["1", "2"]
    assert other.record().mark == "open"


@pytest.mark.parametrize("state", ["done", "unknown"])
def test_what_is_over_is_not_cancelled(case: JobCase, state: str) -> None:
    case.ledger.close()
    job_id = "aa11" if state == "done" else "zz"
    assert cancel_job(case.client, FLEET, job_id, declare_flags=False).state == state
    assert not case.client.exists(redis_keys.job(FLEET, "zz"))


def test_a_job_that_is_left_can_be_removed_whole(case: JobCase) -> None:
    case.accept(*range(1200))
    case.fail(7)
    case.ledger.say_alive(leaves=True)
    assert purge(case) is Purged.REMOVED
    left = case.client.keys("*")
    assert isinstance(left, list)
    assert sorted(left) == sorted(name.encode() for name in (QueueKeys(FLEET, "m").sequence, redis_keys.queues(FLEET)))


def test_a_job_that_runs_is_kept_unless_it_is_forced(case: JobCase) -> None:
    case.accept(1)
    assert purge(case) is Purged.ALIVE
    assert list(case.ledger.open_ids("m")) == ["1"]
    assert purge(case, force=True) is Purged.REMOVED
    assert list(case.ledger.open_ids("m")) == []


def test_a_job_with_calls_in_flight_is_kept_unless_it_is_forced(case: JobCase) -> None:
    case.accept(1, 2)
    case.hold(1)
    case.ledger.say_alive(leaves=True)
    assert purge(case) is Purged.IN_FLIGHT
    assert list(case.ledger.open_ids("m")) == ["1"]
    case.clock.advance_ms(30_001)  # the worker is gone, and its lease too
    assert purge(case) is Purged.REMOVED


def test_what_a_worker_has_in_flight_goes_with_a_job_that_is_forced(case: JobCase) -> None:
    case.accept(1)
    case.hold(1)
    assert purge(case, force=True) is Purged.REMOVED
    assert case.client.zcard(QueueKeys(FLEET, "m").running) == 0


def test_an_abandoned_job_is_announced_before_it_is_removed(case: JobCase) -> None:
    case.accept(1)
    case.succeed(1)
    case.clock.advance_ms(DAY_MS - 1)
    assert abandon(case) == 0
    case.clock.advance_ms(1)
    assert abandon(case) == 0
    case.clock.advance_ms(60_000)
    assert abandon(case) == 1
    assert list(read_records(case.client, FLEET)) == []
    assert not case.ledger.has_outcomes()


def test_a_producer_that_is_back_with_its_server_keeps_its_job(case: JobCase) -> None:
    case.clock.advance_ms(2 * DAY_MS)  # the server was away
    assert abandon(case) == 0
    case.ledger.say_alive()
    case.clock.advance_ms(60_000)
    assert abandon(case) == 0
    case.clock.advance_ms(DAY_MS)
    assert abandon(case) == 0  # announced anew
    assert case.record().mark == "open"


def test_a_producer_that_comes_back_in_the_midst_of_it_keeps_its_record(
    case: JobCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.ledger.say_alive(leaves=True)
    unlink = case.client.smembers

    def meanwhile(name: str) -> object:
        case.ledger.open(begins=True)
        return unlink(name)

    monkeypatch.setattr(case.client, "smembers", meanwhile)
    assert purge(case) is Purged.ALIVE
    assert case.record().mark == "open"


def test_a_done_job_is_never_taken_for_abandoned(case: JobCase) -> None:
    case.ledger.close()
    case.clock.advance_ms(6 * DAY_MS)
    assert abandon(case) == 0
    case.clock.advance_ms(60_000)
    assert abandon(case) == 0
    assert case.record().mark == "done"


def test_what_workers_gave_back_of_a_cancelled_job_that_nobody_runs_is_taken_out(case: JobCase) -> None:
    case.accept(1)
    case.hold(1)
    cancel_job(case.client, FLEET, "aa11", declare_flags=False)
    case.ledger.say_alive(leaves=True)
    case.transitions.hand_back("m", [(case.key(1), "token")])
    assert abandon(case) == 0
    assert list(case.ledger.open_ids("m")) == []


def test_each_run_of_the_embedded_server_has_a_fleet_that_goes_with_its_job(stand_in: StandIn) -> None:
    client, job_id = stand_in.client(), "c" * 32
    fleet = run_fleet(job_id)
    assert fleet == "run-" + "c" * 24
    ledger = JobLedger(client, fleet, job_id, JobOptions(), declare_flags=False)
    ledger.open(begins=True)
    client.sadd(redis_keys.queues(fleet), "m")
    client.sadd(redis_keys.queues("main"), "m")
    assert fleets_with_jobs(client) == [fleet]
    stand_in.clock.advance_ms(DAY_MS)
    assert purge_abandoned_runs(client, DAY_MS, declare_flags=False) == 0
    stand_in.clock.advance_ms(60_000)
    assert purge_abandoned_runs(client, DAY_MS, declare_flags=False) == 1
    assert client.keys("*") == [redis_keys.queues("main").encode()]


def test_of_a_run_that_is_done_the_record_is_kept(stand_in: StandIn) -> None:
    client = stand_in.client()
    ledger = JobLedger(client, "run-x", "x1", JobOptions(), declare_flags=False)
    ledger.open(begins=True)
    for number in range(1500):
        client.set(f"{redis_keys.fleet_prefix('run-x')}queue:{number}:requests", "")
    ledger.close()
    forget_fleet(client, "run-x", keep_jobs=True)
    left = client.keys("*")
    assert isinstance(left, list)
    assert sorted(left) == sorted(name.encode() for name in (redis_keys.jobs("run-x"), redis_keys.job("run-x", "x1")))
