"""What the ledger keeps of a job as a whole: its counts, its failures, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyfleet import redis_keys
from keyfleet.errors import JobCancelled
from keyfleet.jobs import cancel_job
from keyfleet.ledger import Closing, FailureGroup, JobState, JobTotals, ProducerWord, read_failures
from support.job_case import FLEET, QUEUE, JobCase, failed_outcome

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def case(stand_in: StandIn) -> JobCase:
    return JobCase(stand_in)


def counts(case: JobCase) -> tuple[int, int, int]:
    record = case.record()
    return record.accepted, record.succeeded, record.failed


def test_a_job_counts_what_was_accepted_and_how_it_ended(case: JobCase) -> None:
    case.accept(1, 2, 3, 4)
    case.accept(3, 4, 5)  # two of these are there already
    case.succeed(1, 2)
    case.fail(3)
    assert counts(case) == (5, 2, 1)
    case.ledger.withdraw(QUEUE, ["4", "5"])
    assert counts(case) == (3, 2, 1)


def test_failures_are_counted_by_status_and_code_with_the_first_one_as_example(case: JobCase) -> None:
    case.accept(1, 2, 3, custom_id="mine")
    case.fail(2, "odd", message="first" * 200)
    case.fail(1, "odd", message="second")
    case.fail(3, "even")
    groups = read_failures(case.client, FLEET, case.ledger.job_id)
    message = ("first" * 200)[:500]
    assert groups == [
        FailureGroup("400 odd", 2, "2", "mine", message, "key-1"),
        FailureGroup("400 even", 1, "3", "mine", "it is", "key-1"),
    ]


def test_an_example_of_a_request_that_can_not_be_read_lacks_only_its_custom_id(case: JobCase) -> None:
    case.accept(1)
    case.client.hset(
        redis_keys.QueueKeys(FLEET, QUEUE).requests, mapping={case.key(1): b'{"context": {"custom_id": \xff\n{}'}
    )
    case.fail(1)
    (group,) = read_failures(case.client, FLEET, case.ledger.job_id)
    assert (group.count, group.line, group.custom_id) == (1, "1", "")


def test_reasons_beyond_the_first_hundred_are_counted_as_one(case: JobCase) -> None:
    case.accept(*range(120))
    for number in range(120):
        case.fail(number, f"code{number}")
    case_again = read_failures(case.client, FLEET, case.ledger.job_id)
    assert len(case_again) == 101
    assert (case_again[0].reason, case_again[0].count) == ("other", 20)


def test_a_failure_that_is_refused_is_not_counted(case: JobCase) -> None:
    case.accept(1)
    case.hold(1)
    assert case.finish([failed_outcome(case.key(1))], token="old") == [-1]
    assert read_failures(case.client, FLEET, case.ledger.job_id) == []


def test_wrong_lines_count_as_requests_that_failed(case: JobCase) -> None:
    case.ledger.note_failures([("invalid_json", 3, '{"line":"7","message":"no JSON"}')])
    assert counts(case) == (3, 0, 3)
    assert read_failures(case.client, FLEET, case.ledger.job_id) == [
        FailureGroup("invalid_json", 3, "7", "", "no JSON")
    ]


def test_nothing_is_noted_of_a_job_that_the_server_lost(case: JobCase) -> None:
    case.client.flushall()
    case.ledger.note_failures([("invalid_json", 3, "{}")])
    assert case.ledger.say_alive() is ProducerWord.UNKNOWN
    assert case.client.keys("*") == []


def test_a_producer_that_lives_says_so_and_one_that_leaves_too(case: JobCase) -> None:
    assert case.record().state(case.clock.now_ms) is JobState.RUNNING
    case.clock.advance_ms(9_000)
    assert case.ledger.say_alive() is ProducerWord.OPEN
    case.clock.advance_ms(9_000)
    assert case.record().state(case.clock.now_ms) is JobState.RUNNING
    case.clock.advance_ms(1_000)
    assert case.record().state(case.clock.now_ms) is JobState.INTERRUPTED
    case.ledger.say_alive()
    case.ledger.say_alive(leaves=True)
    assert case.record().state(case.clock.now_ms) is JobState.INTERRUPTED
    case.ledger.open(begins=True)
    assert case.record().state(case.clock.now_ms) is JobState.RUNNING


def test_the_pace_of_a_job_is_that_of_its_last_seconds(case: JobCase) -> None:
    case.accept(*range(60))
    paces = []
    for number in range(6):
        case.ledger.say_alive()
        paces.append(case.record().requests_per_s(case.clock.now_ms))
        case.succeed(*range(10 * number, 10 * number + (10 if number > 1 else 2)))
        case.clock.advance_ms(30_000)
    assert paces == [None, *(pytest.approx(ended / 90) for ended in (6, 6, 14, 30, 30))]
    case.clock.advance_ms(60_000)
    assert case.record().requests_per_s(case.clock.now_ms) is None, "nobody runs it"


def test_a_cancelled_job_accepts_nothing_until_it_is_run_again(case: JobCase) -> None:
    case.accept(1, 2)
    case.hold(1)
    cancelled = cancel_job(case.client, FLEET, case.ledger.job_id, declare_flags=False)
    assert (cancelled.state, cancelled.withdrawn, cancelled.in_flight) == ("cancelled", 1, 1)
    with pytest.raises(JobCancelled):
        case.accept(3)
    assert case.ledger.say_alive() is ProducerWord.CANCELLED
    case.ledger.open()  # the server was restarted, which is no word of the user's
    assert case.ledger.say_alive() is ProducerWord.CANCELLED
    case.succeed(1)
    assert counts(case) == (1, 1, 0)
    case.ledger.open(begins=True)
    case.accept(2)
    assert list(case.ledger.open_ids(QUEUE)) == ["2"]


def test_a_done_job_is_remembered_with_the_counts_of_its_files_and_for_a_while_only(case: JobCase) -> None:
    case.accept(1, 2)
    case.succeed(1)
    case.fail(2, "odd")
    case.ledger.close(Closing(JobTotals(5, 2, {"400 odd": 1, "invalid_json": 1})))
    record = case.record()
    assert (record.state(case.clock.now_ms), record.facts) == (JobState.DONE, case.facts)
    assert counts(case) == (7, 5, 2)
    groups = read_failures(case.client, FLEET, case.ledger.job_id)
    assert [(group.reason, group.count, group.message) for group in groups] == [
        ("400 odd", 1, "it is"),
        ("invalid_json", 1, ""),
    ]
    assert not case.ledger.has_outcomes()
    keys = case.client.keys("*:job*")
    assert isinstance(keys, list)
    assert len(keys) == 4
    left_ms = [int(str(case.client.pttl(key))) for key in keys]
    assert all(0 < left <= 7 * 86_400_000 for left in left_ms)


def test_a_done_job_that_goes_on_is_remembered_for_good_again(case: JobCase) -> None:
    case.accept(1)
    case.fail(1)
    case.ledger.close()
    begun_ms = case.record().begun_ms
    case.clock.advance_ms(5000)
    case.ledger.open(begins=True, succeeded=3, failed=1)
    record = case.record()
    assert (record.begun_ms, record.done_ms) == (begun_ms, 0)
    assert counts(case) == (4, 3, 1)
    keys = case.client.keys("*:job*")
    assert isinstance(keys, list)
    assert all(case.client.pttl(key) == -1 for key in keys)


def test_the_index_of_jobs_stays_while_one_of_them_is_open(stand_in: StandIn, case: JobCase) -> None:
    other = JobCase(stand_in, "bb22", case.client)
    case.ledger.close()
    assert case.client.pttl(redis_keys.jobs(FLEET)) == -1
    other.ledger.close()
    assert {one.job_id for one in (case.record(), other.record())} == {"aa11", "bb22"}


def test_a_retry_ends_in_the_job_whose_lines_it_has_sent(stand_in: StandIn, case: JobCase) -> None:
    case.accept(1, 2)
    case.fail(1, "odd")
    case.fail(2, "even")
    case.ledger.close()
    retry = JobCase(stand_in, "bb22", case.client)
    retry.accept(1, 2)
    retry.succeed(1)
    retry.fail(2, "new", message="again")
    retry.ledger.close(Closing(JobTotals(1, 1, {"400 new": 1}), (FLEET, case.ledger.job_id)))
    assert counts(case) == (2, 1, 1)
    (group,) = read_failures(case.client, FLEET, case.ledger.job_id)
    assert (group.reason, group.message) == ("400 new", "again")
    left = case.client.keys("*bb22*")
    assert left == []


def test_a_retry_of_a_job_whose_record_has_gone_leaves_a_record_of_it(stand_in: StandIn) -> None:
    retry = JobCase(stand_in, "bb22")
    retry.ledger.close(Closing(JobTotals(4, 0), ("f2", "aa11")))
    fields = retry.client.hgetall(redis_keys.job("f2", "aa11"))
    assert isinstance(fields, dict)
    assert (fields[b"state"], fields[b"succeeded"], fields[b"name"]) == (b"done", b"4", b"bb22.jsonl")
    assert retry.client.smembers(redis_keys.jobs("f2")) == {b"aa11"}
    assert not retry.client.exists(redis_keys.jobs(FLEET))
