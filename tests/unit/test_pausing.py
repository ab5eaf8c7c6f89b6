"""Pausing and resuming a job: nothing of it is taken meanwhile, and each request keeps its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import Request
from keyfleet.jobs import cancel_job, finish_resuming, list_jobs, pause_job, pausing, purge_job, resume_job
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import Beat, Closing, JobLedger, JobOptions, JobState, ProducerWord, Retry, Transitions
from keyfleet_workers.dispatch import taker as taker_module
from support.take_case import LEASE_MS, TakeCase, ids, quota

if TYPE_CHECKING:
    from support.stand_in import StandIn

FLEET, QUEUE = "f", "q"


class PauseCase(TakeCase):
    """The job of a queue is paused and resumed; `reap` is the workers' beat."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(stand_in)
        self.job.open(begins=True)
        self._transitions = Transitions(self.client, FLEET, lease_ms=LEASE_MS, declare_flags=False)

    def pause(self) -> int | None:
        return pause_job(self.client, FLEET, "job", declare_flags=False)

    def resume(self) -> bool:
        was_paused = resume_job(self.client, FLEET, "job", declare_flags=False)
        self.reap()
        return was_paused

    def reap(self) -> None:
        self._transitions.reap(QUEUE, Beat(owned=True, now_ms=self.clock.now_ms, may_expire=True))

    def taken(self) -> list[str]:
        return list(ids(self.take(quota())))

    def fail_for_now(self, number: str, delay_ms: int) -> None:
        (taken,) = self.take(quota(), most=1).taken
        assert taken.key == f"job:{number}"
        self._transitions.retry(QUEUE, [Retry(taken.key, taken.token, delay_ms, ())])


@pytest.fixture
def case(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> PauseCase:
    monkeypatch.setattr(taker_module, "elapsed_s", stand_in.clock.time)
    return PauseCase(stand_in)


def test_nothing_of_a_paused_job_is_taken_and_the_order_of_acceptance_outlives_the_pause(case: PauseCase) -> None:
    case.accept(1, 1, 1)
    assert case.pause() == 3
    case.accept(1)
    assert case.taken() == []
    case.reap()
    assert case.taken() == []
    assert case.resume()
    assert case.taken() == ["0", "1", "2", "3"]
    assert not case.resume()


def test_a_pause_that_is_still_at_it_when_somebody_resumes_parks_nothing_more(
    case: PauseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queues_after_a_resume(client: redis.Redis, fleet: str) -> list[str]:
        monkeypatch.undo()
        case.resume()
        return [QUEUE]

    case.accept(1, 1)
    monkeypatch.setattr(pausing, "queue_names", queues_after_a_resume)
    assert case.pause() == 0
    assert case.job.depths(QUEUE) == {"ready": 2, "running": 0, "delayed": 0}


def test_what_a_broken_off_resume_has_left_goes_on_with_the_workers(case: PauseCase) -> None:
    case.accept(1, 1)
    case.pause()
    case.client.srem(redis_keys.paused(FLEET), "job")
    case.client.sadd(redis_keys.resuming(FLEET), "job")
    case.reap()
    assert case.taken() == []
    finish_resuming(case.client, FLEET, declare_flags=False)
    case.reap()
    assert case.taken() == ["0", "1"]
    assert not case.client.exists(redis_keys.resuming(FLEET))


@pytest.mark.parametrize("how", ["done", "cancelled", "unknown"])
def test_a_job_that_has_ended_is_not_paused(case: PauseCase, how: str) -> None:
    if how == "cancelled":
        cancel_job(case.client, FLEET, "job", declare_flags=False)
    elif how == "done":
        case.job.close(Closing())
    job_id = "nobody" if how == "unknown" else "job"
    assert pause_job(case.client, FLEET, job_id, declare_flags=False) is None
    assert not case.client.exists(redis_keys.paused(FLEET))


def test_many_paused_requests_before_others_hold_nobody_up(case: PauseCase) -> None:
    case.pause()
    case.accept(*[1] * 3)
    assert case.take(quota()).parked == 3
    assert case.take(quota()).parked == 0


def test_other_jobs_of_the_queue_go_on_and_are_not_held_up_by_what_a_paused_one_has_before_them(
    case: PauseCase,
) -> None:
    case.pause()
    case.accept(*[1] * 300)
    other = JobLedger(case.client, FLEET, "other", JobOptions(), declare_flags=False)
    other.accept(QUEUE, [Request("mine", "/v1/x", "m", b"{}", 1, {})])
    result = case.take(quota())
    assert ([taken.key for taken in result.taken], result.ready_left) == (["other:mine"], 0)
    case.resume()
    assert len(case.taken()) == 100


def test_what_comes_back_while_a_job_is_paused_waits_too(case: PauseCase) -> None:
    case.accept(1, 1)
    case.fail_for_now("0", delay_ms=500)
    case.pause()
    case.clock.advance_ms(1000)
    case.reap()
    assert case.taken() == []
    case.reap()
    assert case.taken() == []
    case.resume()
    assert case.taken() == ["0", "1"]


def test_resuming_leaves_a_backoff_as_it_is(case: PauseCase) -> None:
    case.accept(1)
    case.fail_for_now("0", delay_ms=500)
    case.pause()
    case.resume()
    assert case.taken() == []
    case.clock.advance_ms(501)
    case.reap()
    assert case.taken() == ["0"]


def test_the_producer_hears_of_it_and_it_is_listed(case: PauseCase) -> None:
    case.pause()
    assert case.job.say_alive(total=7) is ProducerWord.PAUSED
    (listed,) = list_jobs(case.client, FLEET)
    assert (listed.state(case.clock.now_ms), listed.record.total) == (JobState.PAUSED, 7)
    case.resume()
    assert case.job.say_alive() is ProducerWord.OPEN
    (listed,) = list_jobs(case.client, FLEET)
    assert (listed.state(case.clock.now_ms), listed.record.total) == (JobState.RUNNING, 7)


@pytest.mark.parametrize("how", ["cancelled", "done", "purged"])
def test_the_mark_goes_with_the_job(case: PauseCase, how: str) -> None:
    case.accept(1)
    case.pause()
    if how == "cancelled":
        assert cancel_job(case.client, FLEET, "job", declare_flags=False).withdrawn == 1
        assert case.job.say_alive() is ProducerWord.CANCELLED
    elif how == "done":
        case.job.close(Closing())
    else:
        (record,) = read_records(case.client, FLEET)
        purge_job(case.client, record, force=True, declare_flags=False)
    assert not case.client.exists(redis_keys.paused(FLEET))
