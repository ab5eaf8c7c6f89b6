"""Until when a job's requests may be started, and how those end that could not be."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from keyfleet.batch.parse import ParsedLine
from keyfleet.contract import AttemptError, Outcome, Request
from keyfleet.errors import ConfigurationError, DeadlineExceeded, InvalidRequest
from keyfleet.fleet_jobs.deadline import Expiry, JobAdmission, deadline_s_of
from keyfleet.ledger.codec import encode_attempts
from keyfleet.redis_keys import QueueKeys
from keyfleet.results import error_of
from keyfleet.running.window import OpenRequest, Window
from support.job_case import FLEET, QUEUE, JobCase
from support.stand_in import StandIn

NOW_S = 1000.0


def test_a_deadline_is_in_seconds_from_now_or_a_time() -> None:
    until = datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert deadline_s_of(None, NOW_S) is None
    assert deadline_s_of(90, NOW_S) == NOW_S + 90
    assert deadline_s_of(until, NOW_S) == until.timestamp()
    assert deadline_s_of(until.astimezone(timezone(timedelta(hours=5))), NOW_S) == until.timestamp()


@pytest.mark.parametrize("deadline", [0, -3.0, float("nan"), float("inf"), True, "tomorrow", datetime(2030, 1, 1)])
def test_a_deadline_that_is_none_is_refused(deadline: Any) -> None:
    with pytest.raises(ConfigurationError, match="deadline: expected"):
        deadline_s_of(deadline, NOW_S)


class Inner:
    """Admits everything."""

    def request(self, parsed: ParsedLine) -> Request:
        return Request(str(parsed.number), parsed.endpoint, parsed.model, parsed.body_bytes, 5)


def parsed() -> ParsedLine:
    return ParsedLine(3, "c", "/v1/embeddings", None, "m", {}, b"{}", None, b"{}")


def admission(deadline_s: float | None, *, urgent: bool = False) -> JobAdmission:
    return JobAdmission(Inner(), urgent=urgent, deadline_s=deadline_s, clock=lambda: NOW_S)


def test_requests_are_told_how_long_they_may_wait() -> None:
    assert admission(None).request(parsed()) == Inner().request(parsed())
    assert admission(NOW_S + 2.5).request(parsed()).start_within_ms == 2500
    assert admission(NOW_S + 0.0001).request(parsed()).start_within_ms == 1
    assert admission(None, urgent=True).request(parsed()).urgent


def test_a_row_that_is_read_after_the_deadline_is_not_accepted() -> None:
    with pytest.raises(InvalidRequest) as caught:
        admission(NOW_S).request(parsed())
    assert caught.value.code == "deadline_exceeded"


class Case:
    """Requests of a job under way, and how they end."""

    def __init__(self, stand_in: StandIn) -> None:
        self.job = JobCase(stand_in)
        self.window = Window()
        self.now_s = NOW_S
        self.ended: list[Outcome] = []
        self.expiry = Expiry(
            NOW_S + 10,
            self.job.client,
            FLEET,
            self.job.ledger,
            self.window,
            self.ended.append,
            clock=lambda: self.now_s,
        )

    def accept(self, *numbers: int, **context: object) -> None:
        self.job.accept(*numbers, **context)
        for number in numbers:
            self.window.add(str(number), OpenRequest(QUEUE, 2))


def test_what_no_worker_holds_is_ended_once_its_time_is_over(stand_in: StandIn) -> None:
    case = Case(stand_in)
    case.accept(1, 2, 3, custom_id="mine")
    case.job.hold(2)
    assert case.expiry.look() == 0
    case.now_s += 10
    assert case.expiry.look() == 2
    assert [(outcome.id, outcome.attempts) for outcome in case.ended] == [("1", 0), ("3", 0)]
    assert isinstance(error_of(case.ended[0]), DeadlineExceeded)
    assert case.ended[0].context == {"custom_id": "mine"}
    assert case.expiry.look() == 0  # not so soon again
    case.now_s += 1
    assert case.expiry.look() == 0  # they are gone, and the other is held


def test_attempts_that_failed_before_stay_in_its_history(stand_in: StandIn) -> None:
    case = Case(stand_in)
    case.accept(1)
    case.job.delay(1)
    failed = AttemptError(500, "server_error", "try again", "key-1", 3.0)
    case.job.client.hset(QueueKeys(FLEET, QUEUE).attempts, case.job.key(1), encode_attempts((failed,)))
    case.now_s += 10
    assert case.expiry.look() == 1
    (outcome,) = case.ended
    assert (outcome.attempts, outcome.errors[0], outcome.errors[-1].code) == (1, failed, "deadline_exceeded")


def test_what_is_being_accepted_just_now_is_left_to_the_next_look(stand_in: StandIn) -> None:
    case = Case(stand_in)
    case.window.add("1", OpenRequest(QUEUE, 2), accepted=False)
    case.now_s += 10
    assert case.expiry.look() == 0
    case.job.accept(1)
    case.window.note_accepted(["1"])
    case.now_s += 1
    assert case.expiry.look() == 1
