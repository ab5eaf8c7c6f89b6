"""Pieces of answers in the ledger: passed on to their caller while it lives, and never begun twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from keyfleet import redis_keys
from keyfleet.contract import Outcome, Request
from keyfleet.ledger import Finish, JobLedger, JobOptions, Transitions, Withdrawal
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet.ledger.pieces import Piece, StreamHead
from keyfleet.ledger.transitions import LEASE_PASSED, NOBODY_WAITS, UNKNOWN, OutgoingPiece
from keyfleet_workers.dispatch.taker import TakeResult
from support.take_case import TakeCase, quota

if TYPE_CHECKING:
    from support.stand_in import StandIn

QUEUE = "m"
HEAD = StreamHead(200, "one", 1, "req-1")


class StreamCase(TakeCase):
    """A caller whose one request is taken, and the worker that passes its answer on."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(stand_in)
        self.job = JobLedger(self.client, "f", "job", JobOptions(), is_caller=True, declare_flags=False)
        self.job.open(begins=True)
        self.job.say_alive()
        self.job.accept(QUEUE, [Request("1", "/v1/x", "m", b"{}", 1, urgent=True, streams=True)])
        (self.taken,) = self.take_again().taken
        self.transitions = Transitions(self.client, "f", lease_ms=30_000, declare_flags=False)

    def take_again(self) -> TakeResult:
        return self.taker.take(QUEUE, quota(), 8)

    def send(self, number: int, body: bytes = b"data: 1\n\n", token: str | None = None) -> int:
        head = HEAD if number == 1 else None
        piece = OutgoingPiece(self.taken.key, token or self.taken.token, number, body, head)
        (standing,) = self.transitions.stream(QUEUE, "job", [piece])
        return int(standing)

    def replies(self) -> list[Outcome | Piece | None]:
        return [reply for _, reply in self.job.replies("0", count=10)]


@pytest.fixture
def case(stand_in: StandIn) -> StreamCase:
    return StreamCase(stand_in)


def test_a_request_says_that_its_answer_is_wanted_in_pieces(case: StreamCase) -> None:
    assert case.taken.streams


def test_workers_that_do_not_know_of_pieces_yet_refuse_it_unpaid(case: StreamCase) -> None:
    header = json.loads(case.taken.record.partition(b"\n")[0])
    assert header["v"] == 2  # they know version 1
    case.job.accept(QUEUE, [Request("2", "/v1/x", "m", b"{}", 1)])
    (whole,) = case.take_again().taken
    assert json.loads(whole.record.partition(b"\n")[0])["v"] == 1


def test_pieces_come_to_the_caller_in_order_and_the_outcome_behind_them(case: StreamCase) -> None:
    assert [case.send(1, b"data: a\n\n"), case.send(2, b"data: b\n\n")] == [0, 0]
    case.transitions.finish(QUEUE, "job", [Finish(case.taken.key, "", Outcome(case.taken.key, True, 200, b"", 1))])
    first, second, outcome = case.replies()
    assert first == Piece("1", case.taken.token, 1, b"data: a\n\n", HEAD)
    assert second == Piece("1", case.taken.token, 2, b"data: b\n\n")
    assert isinstance(outcome, Outcome)


def test_the_worker_hears_how_far_its_caller_has_read(case: StreamCase) -> None:
    case.job.note_read({"1": 9})
    assert (case.send(1), case.send(0)) == (9, 9)
    case.job.note_read({"1": None})
    assert case.send(0) == 0
    assert len(case.replies()) == 1


def test_nothing_is_passed_on_for_a_caller_that_is_gone(case: StreamCase) -> None:
    case.clock.now_ms += ALIVE_MS + 1
    assert case.send(1) == NOBODY_WAITS
    case.job.say_alive()
    assert case.send(1) == 0
    case.job.close()
    assert case.send(2) == NOBODY_WAITS


def test_nothing_is_passed_on_under_another_lease_or_of_a_request_that_is_over(case: StreamCase) -> None:
    assert case.send(1, token="another") == LEASE_PASSED
    case.transitions.finish(QUEUE, "job", [Finish(case.taken.key, "", Outcome(case.taken.key, True, 200, b"", 1))])
    assert case.send(1) == UNKNOWN


def test_an_answer_that_has_begun_is_never_begun_again(case: StreamCase) -> None:
    case.send(1)
    case.transitions.hand_back(QUEUE, [(case.taken.key, case.taken.token)])
    found = case.take_again()
    assert (found.packs, [one.key for one in found.expired]) == ((), [case.taken.key])


def test_one_that_has_not_begun_is(case: StreamCase) -> None:
    case.send(0)
    case.transitions.hand_back(QUEUE, [(case.taken.key, case.taken.token)])
    assert [one.key for one in case.take_again().taken] == [case.taken.key]


def test_a_request_that_its_caller_gives_up_is_never_started_again(case: StreamCase) -> None:
    case.job.withdraw(QUEUE, ["1"], Withdrawal.GIVEN_UP)
    case.transitions.hand_back(QUEUE, [(case.taken.key, case.taken.token)])
    found = case.take_again()
    assert (found.packs, len(found.expired)) == ((), 1)


def test_a_piece_that_can_not_be_read_is_passed_over(case: StreamCase) -> None:
    for fields in (
        {"request": "job:1", "piece": "token", "body": "b"},
        {"request": "job:1", "piece": "token 0", "body": "b"},
        {"request": "job:1", "piece": "token 2"},
        {"request": "job:", "piece": "token 2", "body": "b"},
        {"request": "job:1", "piece": "token 1", "body": "b", "head": '{"status": "good"}'},
        {"request": "job:1", "piece": b"\xff 2", "body": "b"},
    ):
        case.client.xadd(redis_keys.job_outcomes("f", "job"), fields)  # type: ignore[arg-type] # bytes are taken too
    *bad, last = case.replies()
    assert bad == [None] * 5
    assert isinstance(last, Piece)
