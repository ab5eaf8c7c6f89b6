"""The desk of calls: what goes into the ledger, what comes out, and what becomes of calls that nobody waits for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from keyfleet import redis_keys
from keyfleet.calls.terms import CallTerms
from keyfleet.calls.unserved import why_unserved
from keyfleet.contract import CALLER_GONE
from keyfleet.errors import FleetClosed, InvalidRequest, JobCancelled, NoKeyServes, RequestFailed
from keyfleet.jobs import cancel_job
from keyfleet.jobs.listing import read_records
from keyfleet.running.accepting import LOOK_S
from keyfleet.running.fleet_status import FleetStatus, KeyStanding, WorkerStatus
from support.desk_case import BODY, CHAT, FLEET, QUEUE, DeskCase
from support.events import wait_until

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def case(stand_in: StandIn, tmp_path: Path) -> Iterator[DeskCase]:
    case = DeskCase(stand_in, tmp_path)
    yield case
    case.desk.close()


def test_a_call_is_an_urgent_request_whose_outcome_comes_back(case: DeskCase) -> None:
    call = case.begin()
    assert case.client.zcard(case.keys.ready_urgent) == 1
    case.answer(call)
    outcome = call.ended.result(10)
    assert (outcome.ok, outcome.body, outcome.key_name) == (True, b'{"a": 1}', "one")
    assert (case.desk.waiting, case.requests()) == (0, [])
    wait_until(lambda: not case.client.xlen(redis_keys.job_outcomes(FLEET, case.record().job_id)), "it is trimmed")


def test_a_call_that_makes_images_costs_their_number(case: DeskCase) -> None:
    body = b'{"model": "%s", "prompt": "An otter", "n": 3}' % QUEUE.encode()
    call = case.desk.begin("/v1/images/generations", body, CallTerms())
    wait_until(lambda: call.is_accepted, "the call is accepted")
    assert call.request.cost_images == 3
    (place,) = cast("list[bytes]", case.client.hvals(case.keys.places))
    assert place.split()[6:] == [b"3"]


def test_calls_of_bulk_priority_overtake_nobody(case: DeskCase) -> None:
    call = case.desk.begin(CHAT, BODY, CallTerms(urgent=False))
    wait_until(lambda: call.is_accepted, "the call is accepted")
    assert (case.client.zcard(case.keys.ready_urgent), case.client.zcard(case.keys.ready_bulk)) == (0, 1)


def test_a_calls_time_bounds_when_it_may_start_and_how_long_its_provider_may_be_silent(case: DeskCase) -> None:
    case.begin(until_s=time.monotonic() + 5.0, max_attempts=2)
    (place,) = cast("list[bytes]", case.client.hvals(case.keys.places))
    accepted_ms, deadline_ms = (int(field) for field in place.split()[3:5])
    assert 4000 < deadline_ms - accepted_ms <= 5000
    (record,) = cast("list[bytes]", case.client.hvals(case.keys.requests))
    header = json.loads(record.partition(b"\n")[0])
    assert (header["attempts"][0], 4.0 < header["timeout_s"] <= 5.0) == (2, True)


def test_a_call_that_nobody_waits_for_any_more_is_taken_back_unsent(case: DeskCase) -> None:
    call = case.begin()
    case.desk.abandon(call)
    assert call.withdrawn.result(10) is False
    assert (case.requests(), case.desk.waiting) == ([], 0)


def test_a_call_that_is_being_sent_when_its_caller_goes_is_not_sent_again(case: DeskCase) -> None:
    call = case.begin()
    case.hold(call)
    case.desk.abandon(call)
    assert call.withdrawn.result(10) is True
    case.hand_back(call)
    wait_until(lambda: case.requests() == [], "it is taken back")
    assert case.desk.waiting == 0


def test_an_answer_that_comes_after_its_caller_has_gone_is_let_go_of(case: DeskCase) -> None:
    call, other = case.begin(), case.begin()
    case.hold(call)
    case.desk.abandon(call)
    call.withdrawn.result(10)
    case.answer(call)
    case.answer(other)
    assert other.ended.result(10).ok
    assert not call.ended.done()
    wait_until(lambda: case.desk.waiting == 0, "none waits")


def test_what_the_server_has_lost_is_sent_again(case: DeskCase) -> None:
    call = case.begin()
    before = case.record().job_id
    case.client.flushall()
    wait_until(lambda: case.requests() == [call.request.id], "the call is there again")
    assert case.record().job_id == before
    case.answer(call)
    assert call.ended.result(10).ok


def test_what_was_taken_for_a_gone_callers_is_sent_again(case: DeskCase) -> None:
    call = case.begin()
    case.fail(call, CALLER_GONE)
    wait_until(lambda: case.requests() == [call.request.id], "the call is there again")
    case.answer(call)
    assert call.ended.result(10).ok


def test_an_error_of_the_fleets_own_ends_a_call(case: DeskCase) -> None:
    call = case.begin()
    case.fail(call, "request_too_large")
    outcome = call.ended.result(10)
    assert (outcome.ok, outcome.errors[-1].code) == (False, "request_too_large")


def test_cancelling_ends_what_is_under_way_and_nothing_else(case: DeskCase) -> None:
    call = case.begin()
    cancel_job(case.client, FLEET, case.record().job_id, declare_flags=False)
    with pytest.raises(JobCancelled):
        call.ended.result(10)
    later = case.begin()
    case.answer(later)
    assert later.ended.result(10).ok


def test_a_call_that_meets_the_cancelling_is_cancelled_and_stops_nothing(case: DeskCase) -> None:
    cancel_job(case.client, FLEET, case.record().job_id, declare_flags=False)
    call = case.desk.begin(CHAT, BODY, CallTerms())
    assert isinstance(call.ended.exception(10), JobCancelled)
    wait_until(lambda: case.record().mark == "open", "the desk goes on")
    later = case.begin()
    case.answer(later)
    assert later.ended.result(10).ok


def test_a_call_that_can_not_be_written_fails_alone(case: DeskCase) -> None:
    bad = case.desk.begin(CHAT, BODY.decode(), CallTerms())  # type: ignore[arg-type]
    good = [case.desk.begin(CHAT, BODY, CallTerms()) for _ in range(5)]
    error = bad.ended.exception(10)
    assert isinstance(error, RequestFailed)
    assert (error.code, error.status) == ("not_accepted", None)
    wait_until(lambda: all(call.is_accepted for call in good), "the others are accepted")


def test_calls_are_taken_back_also_while_the_server_is_full(case: DeskCase) -> None:
    first = case.begin()
    case.client.info = lambda section: {"used_memory": 90, "maxmemory": 100}  # type: ignore[method-assign, assignment, misc]
    wait_until(lambda: time.monotonic() - first.began_s > LOOK_S, "the memory is looked at again")
    blocked = case.desk.begin(CHAT, BODY, CallTerms())
    case.desk.abandon(first)
    assert first.withdrawn.result(10) is False
    assert (case.requests(), blocked.is_accepted) == ([], False)
    case.client.info = lambda section: {"used_memory": 1}  # type: ignore[method-assign, assignment, misc]
    wait_until(lambda: blocked.is_accepted, "it goes on when there is room")


def test_an_outcome_of_a_later_version_fails_its_call_and_stops_no_other(case: DeskCase) -> None:
    call, other = case.begin(), case.begin()
    entry = {"request": case.key_of(call), "outcome": '{"v": 999}', "body": "", "record": ""}
    case.client.xadd(redis_keys.job_outcomes(FLEET, case.record().job_id), entry)  # type: ignore[arg-type]
    assert call.ended.result(10).errors[-1].code == "malformed_outcome"
    case.answer(other)
    assert other.ended.result(10).ok


def test_a_call_that_a_worker_holds_is_not_ended_as_unserved(stand_in: StandIn, tmp_path: Path) -> None:
    case = DeskCase(stand_in, tmp_path, grace_s=0.05)
    case.status = None
    held, waiting = case.begin(), case.begin()
    case.hold(held)
    case.status = FleetStatus()
    with pytest.raises(NoKeyServes):
        waiting.ended.result(10)
    case.answer(held)
    assert held.ended.result(10).ok
    case.desk.close()


def test_closing_ends_calls_and_leaves_nothing_behind(case: DeskCase) -> None:
    calls = [case.begin() for _ in range(3)]
    case.desk.close()
    for call in calls:
        with pytest.raises(FleetClosed):
            call.ended.result(0)
        assert call.withdrawn.result(0) is False
    assert (case.requests(), case.client.exists(redis_keys.callers(FLEET))) == ([], 0)
    assert not case.desk.has_left_calls
    with pytest.raises(FleetClosed):
        case.desk.begin(CHAT, BODY, CallTerms()).ended.result(0)


def test_calls_in_flight_at_the_end_leave_a_record_that_says_that_nobody_waits(case: DeskCase) -> None:
    call = case.begin()
    case.hold(call)
    case.desk.close()
    assert case.desk.has_left_calls
    (record,) = read_records(case.client, FLEET)
    assert record.left_ms
    assert case.client.zscore(redis_keys.callers(FLEET), record.job_id) == 0


@pytest.mark.parametrize(
    ("endpoint", "body", "code"),
    [
        (CHAT, b"[]", "invalid_json"),
        (CHAT, b"\xff", "invalid_json"),
        (CHAT, b'{"messages": []}', "missing_model"),
        (CHAT, b'{"model": 5}', "invalid_model"),
        (CHAT, b'{"model": "\\ud83d"}', "invalid_model"),
        (CHAT, b'{"model": "m", "stream": true}', "unexpected_stream"),
        ("/v1/audio/speech", b'{"model": "m"}', "unsupported_endpoint"),
        ("https://evil.example/v1/chat/completions", b'{"model": "m"}', "invalid_url"),
        ("", b'{"model": "m"}', "invalid_url"),
    ],
)
def test_what_the_fleet_can_not_carry_is_refused_at_once(case: DeskCase, endpoint: str, body: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        case.desk.begin(endpoint, body, CallTerms())
    assert (refused.value.code, case.desk.waiting) == (code, 0)


def worker(state: str = "ready", *, serves: str | None = "serves", models: tuple[str, ...] = ("m",)) -> WorkerStatus:
    standings = {} if serves is None else {"m": serves}
    return WorkerStatus("one", "host", 0, 1, False, {}, (), {}, KeyStanding(state, "why"), standings, models=models)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (FleetStatus(), "no worker is running"),
        (FleetStatus((worker(serves="other", models=("a*", "b")),)), r"serves the model 'm'; served are a\*, b"),
        (FleetStatus((worker("revoked"),)), "every key is refused by its provider: one: why"),
        (FleetStatus((), (worker("revoked"),)), "every key is refused by its provider: one: why"),
    ],
)
def test_after_a_grace_a_call_that_nobody_can_serve_ends(
    stand_in: StandIn, tmp_path: Path, status: FleetStatus, message: str
) -> None:
    case = DeskCase(stand_in, tmp_path, grace_s=0.05)
    case.status = status
    call = case.begin()
    with pytest.raises(NoKeyServes, match=message):
        call.ended.result(10)
    assert call.withdrawn.result(10) is False
    case.desk.close()


@pytest.mark.parametrize(
    "status",
    [
        FleetStatus((worker(),)),
        FleetStatus((worker("out_of_credit"),)),
        FleetStatus((worker(serves=None),)),
        FleetStatus((worker(serves="other"), worker())),
        FleetStatus((), (worker("unreachable"),)),
    ],
)
def test_a_call_waits_for_keys_that_come_back_by_themselves(status: FleetStatus) -> None:
    assert why_unserved(status, "m") is None
