"""Jobs whose outcomes somebody waits for right now: heard of by all, urgent, forgotten once their caller is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyfleet import redis_keys
from keyfleet.jobs import forget_gone_callers, purge_abandoned
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.ledger.job_record import ALIVE_MS
from support.job_case import FLEET, QUEUE, JobCase

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def case(stand_in: StandIn) -> JobCase:
    case = JobCase(stand_in)
    case.ledger = JobLedger(case.client, FLEET, "aa11", JobOptions(), is_caller=True, declare_flags=False)
    case.ledger.open(begins=True)
    return case


def heard(case: JobCase) -> dict[bytes, float]:
    found = case.client.zrange(redis_keys.callers(FLEET), 0, -1, withscores=True)
    return dict(found)  # type: ignore[arg-type] # redis-py types what it returns as if it were asynchronous


def forget(case: JobCase) -> int:
    return forget_gone_callers(case.client, FLEET, declare_flags=False)


def test_a_caller_is_heard_when_it_says_that_it_lives(case: JobCase) -> None:
    case.ledger.say_alive()
    assert heard(case) == {b"aa11": case.clock.now_ms}


def test_a_caller_that_leaves_counts_as_gone_at_once(case: JobCase) -> None:
    case.ledger.say_alive(leaves=True)
    assert heard(case) == {b"aa11": 0}


def test_a_job_that_nobody_waits_for_is_no_caller(stand_in: StandIn) -> None:
    case = JobCase(stand_in)
    case.ledger.say_alive()
    assert heard(case) == {}


def test_a_closed_caller_is_forgotten(case: JobCase) -> None:
    case.ledger.say_alive()
    case.ledger.close()
    assert heard(case) == {}


def test_what_a_gone_caller_waited_for_is_taken_out_and_what_a_living_one_waits_for_stays(case: JobCase) -> None:
    case.ledger.say_alive()
    case.accept(1, 2)
    case.clock.advance_ms(ALIVE_MS - 1)
    assert forget(case) == 0
    assert sorted(case.ledger.open_ids(QUEUE)) == ["1", "2"]
    case.clock.advance_ms(1)
    assert forget(case) == 0
    assert list(case.ledger.open_ids(QUEUE)) == []


def test_answers_wait_for_a_caller_that_was_only_stopped_for_long(case: JobCase) -> None:
    case.ledger.say_alive()
    case.accept(1)
    case.succeed(1)
    case.clock.advance_ms(100 * ALIVE_MS)
    assert forget(case) == 0
    assert [outcome.id for _, outcome in case.ledger.outcomes("0", count=9)] == ["1"]
    assert heard(case)
    assert purge_abandoned(case.client, FLEET, 50 * ALIVE_MS, declare_flags=False) == 0  # it is announced first
    case.clock.advance_ms(100 * ALIVE_MS)
    assert purge_abandoned(case.client, FLEET, 50 * ALIVE_MS, declare_flags=False) == 1
    assert forget(case) == 1
    assert heard(case) == {}


def test_of_a_caller_that_has_left_nothing_stays_once_its_calls_in_flight_have_ended(case: JobCase) -> None:
    case.accept(1, 2)
    case.hold(1)
    case.ledger.say_alive(leaves=True)
    assert forget(case) == 0
    assert list(case.ledger.open_ids(QUEUE)) == ["1"]
    case.succeed(1)
    assert forget(case) == 1
    assert (list(read_records(case.client, FLEET)), heard(case)) == ([], {})
