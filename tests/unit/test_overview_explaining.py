"""Why a request or a job waits, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import AttemptError, Request
from keyfleet.jobs import OpenCounts, cancel_job, pause_job
from keyfleet.jobs.listing import open_counts
from keyfleet.ledger import Retry
from keyfleet_workers.holds import KeyState
from keyfleet_workers.overview import read_overview
from keyfleet_workers.overview.explaining import explain_job, explain_request
from keyfleet_workers.overview.places import find_by_custom_id, find_request
from support.housekeeping_case import FLEET, HousekeepingCase

if TYPE_CHECKING:
    from support.stand_in import StandIn

LIMIT = "60 requests per 60 s"


class ExplainCase(HousekeepingCase):
    """A job with three requests in the queue `a1`."""

    def __init__(self, stand_in: StandIn, client: redis.Redis) -> None:
        super().__init__(stand_in, client)
        self.ledger.open(begins=True)
        self.client.hset(redis_keys.job(FLEET, "job"), "name", "questions.jsonl")
        self.ledger.say_alive(total=10)
        self.accept("a1", 3)

    def job(self) -> str:
        self.beat(says_status=True)
        overview = read_overview(self.client, FLEET)
        counts = {"a1": open_counts(self.client, FLEET, ["a1"], "job").get("job", OpenCounts())}
        return explain_job(overview, overview.jobs[0], counts)

    def request(self, request_id: str) -> str:
        self.beat(says_status=True)
        overview = read_overview(self.client, FLEET)
        return explain_request(
            overview, overview.jobs[0], find_request(self.client, FLEET, "job", request_id), request_id
        )

    def hold_by(self, request_id: str, token: str) -> None:
        self.abandon("a1", request_id)
        self.client.hset(redis_keys.QueueKeys(FLEET, "a1").leases, f"job:{request_id}", token)


@pytest.fixture
def case(stand_in: StandIn) -> Iterator[ExplainCase]:
    case = ExplainCase(stand_in, stand_in.client())
    yield case
    case.stopping.set()


def test_a_request_that_is_ready_names_the_limit_the_keys_and_the_time(case: ExplainCase) -> None:
    case.waits.note("a1", LIMIT, 30.0)
    assert case.request("0") == (
        "line 0 of job job (questions.jsonl) is the next for a1 (one waits 30 s more for 60 requests per 60 s); "
        "it should be sent in about 30 s"
    )
    case.calls.sent = 4
    assert "waits behind 2 others for a1" in case.request("2")
    assert case.request("2").endswith("it should be sent in about 1 min 00 s")


def test_without_a_pace_nobody_knows_when_others_have_been_sent(case: ExplainCase) -> None:
    assert case.request("2") == (
        "line 2 of job job (questions.jsonl) waits behind 2 others for a1 (one takes requests, 0 under way)"
    )


def test_a_key_that_can_not_be_used_says_why(case: ExplainCase) -> None:
    case.holds.set(case.scopes.refused, KeyState.REVOKED, "invalid_api_key: no", None)
    (case.present,) = case.holds.read([case.scopes.refused])
    assert "(one is refused by its provider (invalid_api_key: no; probed now and then))" in case.request("0")


def test_a_request_that_is_sent_names_its_key_and_host(case: ExplainCase) -> None:
    case.hold_by("1", "research-1:host-7:123:abc:5:job:1")
    assert case.request("1") == "line 1 of job job (questions.jsonl) is being sent by research-1 on host-7"


def test_a_request_in_backoff_names_what_failed(case: ExplainCase) -> None:
    case.hold_by("1", "token")
    error = AttemptError(503, "overloaded", "busy", "one", 0.0)
    case.transitions.retry("a1", [Retry("job:1", "token", 12_000, (error, error))])
    assert case.request("1") == (
        "line 1 of job job (questions.jsonl) is in backoff for 12 s more, after 2 failed attempts (overloaded)"
    )


def test_a_request_that_the_ledger_does_not_hold_is_done_or_to_come(case: ExplainCase) -> None:
    assert case.request("9") == (
        "line 9 of job job (questions.jsonl) is not in the queue: it has its answer, or was not sent into the queue "
        "yet, or there is none"
    )


def test_a_paused_job_and_its_requests_say_what_to_do(case: ExplainCase) -> None:
    pause_job(case.client, FLEET, "job", declare_flags=False)
    assert case.request("1") == (
        "line 1 of job job (questions.jsonl) waits because its job is paused; `keyfleet jobs resume job` lets it go on"
    )
    assert case.job() == (
        "job job (questions.jsonl) is paused: 0 of 10 requests are done; `keyfleet jobs resume job` lets it go on"
    )


def test_a_job_says_what_it_waits_for_in_each_queue_and_how_long_it_takes(case: ExplainCase) -> None:
    case.waits.note("a1", LIMIT, 30.0)
    case.hold_by("0", "token")
    case.client.hset(redis_keys.job(FLEET, "job"), "succeeded", "2")
    case.clock.advance_ms(4_000)
    assert case.job() == (
        "job job (questions.jsonl) is running: 2 of 10 requests are done; for a1 2 waiting, 1 being sent "
        "(one waits 30 s more for 60 requests per 60 s); it takes about 16 s more"
    )


def test_a_job_that_nobody_runs_or_wants_says_so(case: ExplainCase) -> None:
    case.clock.advance_ms(60_000)
    assert case.job().endswith("nobody runs it now: the command that began it goes on with it")
    cancel_job(case.client, FLEET, "job", declare_flags=False)
    assert case.job() == "job job (questions.jsonl) is cancelled: 0 of 10 requests are done"


def test_open_requests_are_found_by_their_custom_id(case: ExplainCase) -> None:
    new = [Request(str(number), "/v1/x", "a2", b"{}", 1, {"custom_id": f"c-{number % 2}"}) for number in range(7, 10)]
    case.ledger.accept("a2", new)
    case.client.hset(redis_keys.QueueKeys(FLEET, "a2").requests, "job:10", "no JSON\n{}")
    assert list(find_by_custom_id(case.client, FLEET, "c-0")) == [("job", "8")]
    assert sorted(find_by_custom_id(case.client, FLEET, "c-1")) == [("job", "7"), ("job", "9")]
