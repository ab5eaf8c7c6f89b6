"""Answers that come in pieces, from the caller's stream to whoever reads them."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyfleet import redis_keys
from keyfleet.calls import replies
from keyfleet.calls.book import Call
from keyfleet.calls.caller import Caller
from keyfleet.calls.desks import CallDesks
from keyfleet.calls.streamed import StreamedAnswer
from keyfleet.calls.terms import CallTerms
from keyfleet.contract import STREAM_BROKEN, AttemptError, Outcome
from keyfleet.errors import DeadlineExceeded, StreamBroken
from keyfleet.ledger import Retry
from keyfleet.ledger.pieces import ACK_BYTES, StreamHead
from keyfleet.ledger.transitions import OutgoingPiece
from keyfleet_workers.notices import Notices
from support.desk_case import CHAT, FLEET, QUEUE, DeskCase
from support.events import wait_until

if TYPE_CHECKING:
    from support.stand_in import StandIn

BODY = b'{"model": "m", "messages": [], "stream": true}'
HEAD = StreamHead(200, "one", 2, "req-1")


class StreamCase(DeskCase):
    """A desk with one caller, and the worker that holds its request."""

    def __init__(self, stand_in: StandIn, directory: Path) -> None:
        super().__init__(stand_in, directory)
        self.caller = Caller(lambda: CallDesks(lambda name: self.desk))
        self.stopped: list[tuple[str, str]] = []
        self.stopping = threading.Event()
        Notices(
            *(self.client, FLEET),
            hurry=lambda queue: None,
            waiting=lambda: (),
            stop_call=lambda queue, request: self.stopped.append((queue, request)),
            stopping=self.stopping,
        ).start()
        wait_until(lambda: self.client.pubsub_numpat() == 2, "the worker listens")

    def begin_stream(self) -> Call:
        """A call that a worker holds."""
        call = self.desk.begin(CHAT, BODY, CallTerms(), streams=True)
        wait_until(lambda: call.is_accepted, "the call is accepted")
        self.hold(call)
        return call

    def piece(self, call: Call, number: int, body: bytes, token: str = "token") -> int:
        head = HEAD if number == 1 else None
        piece = OutgoingPiece(self.key_of(call), token, number, body, head)
        (standing,) = self.transitions.stream(QUEUE, self.record().job_id, [piece])
        return int(standing)

    def end(self, call: Call, *, ok: bool = True, code: str = STREAM_BROKEN, pieces: int = 0) -> None:
        errors = () if ok else (AttemptError(None, code, "it broke"),)
        outcome = Outcome(self.key_of(call), ok, 200 if ok else None, b"", 1, errors, pieces=pieces)
        self.finish([outcome], token="token")

    def read(self, call: Call) -> StreamedAnswer:
        """The answer, which has begun."""
        assert call.stream is not None
        head = call.stream.begun.result(10)
        assert head is not None
        return StreamedAnswer(self.desk, call, call.stream, head)

    def is_stopped(self, call: Call) -> bool:
        return (QUEUE, self.key_of(call)) in self.stopped


@pytest.fixture
def case(stand_in: StandIn, tmp_path: Path) -> Iterator[StreamCase]:
    case = StreamCase(stand_in, tmp_path)
    yield case
    case.stopping.set()
    case.desk.close()


def test_what_comes_is_read_in_order_until_the_outcome(case: StreamCase) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"data: a\n\n")
    answer = case.read(call)
    assert (answer.status, answer.key_name, answer.attempts, answer.request_id) == (200, "one", 2, "req-1")
    parts = iter(answer)
    assert next(parts) == b"data: a\n\n"
    case.piece(call, 2, b"")
    case.piece(call, 3, b"data: b\n\n")
    case.piece(call, 3, b"data: b\n\n")
    case.end(call)
    assert b"".join(parts) == b"data: b\n\n"
    assert (case.desk.waiting, case.stopped) == (0, [])


def test_it_is_read_in_an_event_loop_as_well(case: StreamCase) -> None:
    async def read() -> list[bytes]:
        call = await asyncio.to_thread(case.begin_stream)
        await asyncio.to_thread(case.piece, call, 1, b"a")
        found = []
        async for part in case.read(call):
            found.append(part)
            if len(found) == 1:
                await asyncio.to_thread(case.piece, call, 2, b"b")
            else:
                await asyncio.to_thread(case.end, call)
        return found

    assert asyncio.run(read()) == [b"a", b"b"]


def test_an_answer_that_breaks_off_raises_behind_what_has_come(case: StreamCase) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    case.end(call, ok=False)
    parts = iter(case.read(call))
    assert next(parts) == b"a"
    with pytest.raises(StreamBroken, match="it broke"):
        next(parts)


def test_one_whose_last_pieces_were_lost_is_not_taken_for_whole(case: StreamCase) -> None:
    call, other = case.begin_stream(), case.begin_stream()
    case.piece(call, 1, b"a")
    case.end(call, pieces=2)
    with pytest.raises(StreamBroken, match="the end of the answer was lost"):
        list(case.read(call))
    case.end(other, pieces=1)
    with pytest.raises(StreamBroken, match="the end of the answer was lost"):
        other.ended.result(10)


@pytest.mark.parametrize("is_async", [False, True])
def test_whoever_reads_one_that_is_closed_elsewhere_hears_of_it(case: StreamCase, is_async: bool) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    answer = case.read(call)
    parts: list[bytes] = []
    ends: list[BaseException] = []

    async def read_async() -> None:
        async for part in answer:
            parts.append(part)

    def read() -> None:
        try:
            if is_async:
                asyncio.run(read_async())
            else:
                parts.extend(answer)
        except StreamBroken as error:
            ends.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    wait_until(lambda: call.stream is not None and call.stream.read_bytes, "it is read")
    answer.close()
    thread.join(10)
    assert [str(error) for error in ends] == ["the stream was closed"]


def test_one_whose_request_was_started_elsewhere_in_its_midst_is_broken(case: StreamCase) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    case.end(call, ok=False, code="deadline_exceeded")
    with pytest.raises(StreamBroken, match="the worker was lost in the midst of the answer"):
        list(case.read(call))


@pytest.mark.parametrize(("number", "token"), [(3, "token"), (1, "another"), (2, "another")])
def test_pieces_that_do_not_follow_break_it_off_and_stop_the_worker(case: StreamCase, number: int, token: str) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    case.client.hset(case.keys.leases, case.key_of(call), token)
    case.piece(call, number, b"c", token)
    with pytest.raises(StreamBroken, match="a part of the answer was lost"):
        list(case.read(call))
    wait_until(lambda: case.is_stopped(call), "the worker is told to stop")


def test_a_worker_that_is_silent_for_long_counts_as_lost(case: StreamCase, monkeypatch: pytest.MonkeyPatch) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    answer = case.read(call)
    monkeypatch.setattr(replies, "STREAM_SILENT_S", 0.0)
    with pytest.raises(StreamBroken, match="the worker was lost"):
        list(answer)
    wait_until(lambda: case.is_stopped(call), "whoever still has it is told to stop")


def test_silence_that_this_process_or_the_broker_stood_still_for_is_not_the_workers(
    case: StreamCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    parts = iter(case.read(call))
    assert next(parts) == b"a"
    monkeypatch.setattr(replies, "DEAF_S", 0.0)
    monkeypatch.setattr(replies, "STREAM_SILENT_S", replies.BLOCK_MS / 2000)  # which each look at the stream outlasts
    looks = iter(range(3))
    monkeypatch.setattr(case.desk, "_also_look", lambda: next(looks, None))
    wait_until(lambda: next(looks, None) is None, "it was looked at more than once")
    case.piece(call, 2, b"b")
    case.end(call)
    assert list(parts) == [b"b"]


def test_one_that_the_server_has_lost_is_never_sent_again(case: StreamCase) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    answer = case.read(call)
    case.client.flushall()
    with pytest.raises(StreamBroken):
        list(answer)
    assert case.requests() == []


def test_leaving_it_stops_the_call(case: StreamCase) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    for _ in case.read(call):
        break
    gc.collect()
    wait_until(lambda: case.is_stopped(call), "the worker is told to stop")


def test_dropping_it_unread_stops_the_call_too(case: StreamCase) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"a")
    case.read(call)
    gc.collect()
    wait_until(lambda: case.is_stopped(call), "the worker is told to stop")


def test_one_that_was_read_to_its_end_stops_nothing(case: StreamCase) -> None:
    call, other = case.begin_stream(), case.begin_stream()
    case.piece(call, 1, b"a")
    case.end(call)
    with case.read(call) as answer:
        assert list(answer) == [b"a"]
    case.piece(other, 1, b"a")
    case.read(other).close()
    wait_until(lambda: case.is_stopped(other), "the other one is stopped")
    assert not case.is_stopped(call)


def test_the_worker_hears_what_of_a_long_answer_was_read(case: StreamCase) -> None:
    call = case.begin_stream()
    case.piece(call, 1, b"x" * ACK_BYTES)
    answer = case.read(call)
    parts = iter(answer)
    assert len(next(parts)) == ACK_BYTES
    wait_until(lambda: case.piece(call, 0, b"") == ACK_BYTES, "the worker hears it")
    case.end(call)
    assert list(parts) == []
    read = redis_keys.job_read(FLEET, case.record().job_id)
    wait_until(lambda: not case.client.exists(read), "it is forgotten with the call")


def test_a_call_that_ends_without_a_beginning_has_its_outcome(case: StreamCase) -> None:
    found: list[Outcome | StreamedAnswer] = []
    thread = threading.Thread(target=lambda: found.append(case.caller.stream(CHAT, BODY, CallTerms())), daemon=True)
    thread.start()
    wait_until(lambda: case.requests() == ["1"], "the call is there")
    outcome = Outcome(f"{case.record().job_id}:1", False, 400, b"{}", 1, (AttemptError(400, "bad", "it is"),))
    case.finish([outcome])
    thread.join(10)
    (end,) = found
    assert isinstance(end, Outcome)
    assert end.status == 400


def test_one_that_does_not_begin_in_time_is_taken_back(case: StreamCase) -> None:
    with pytest.raises(DeadlineExceeded, match="could not be started"):
        case.caller.stream(CHAT, BODY, CallTerms.of(0.05, "urgent"))
    assert case.requests() == []


def test_one_that_begins_just_as_its_time_is_over_is_late_and_stopped(
    case: StreamCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandon = case.desk.abandon

    def begin_meanwhile(call: Call) -> None:
        case.hold(call)
        case.piece(call, 1, b"a")
        assert call.stream is not None
        call.stream.begun.result(10)
        abandon(call)

    monkeypatch.setattr(case.desk, "abandon", begin_meanwhile)
    with pytest.raises(DeadlineExceeded, match="was sent, and not answered"):
        case.caller.stream(CHAT, BODY, CallTerms.of(0.5, "urgent"))


def test_a_call_that_may_not_wait_longer_ends_unless_it_was_started(case: StreamCase) -> None:
    waiting = case.desk.begin(CHAT, b'{"model": "m"}', CallTerms(start_by_s=time.monotonic()))
    begun, spent = case.begin(start_by_s=time.monotonic() + 0.2), case.begin(start_by_s=time.monotonic() + 0.2)
    case.hold(begun)
    case.hold(spent)
    failed = (AttemptError(500, "http_500", "made up"),)
    case.transitions.retry(QUEUE, [Retry(case.key_of(spent), "token", 60_000, failed)])
    with pytest.raises(DeadlineExceeded, match="could not be started in the time that it may wait") as late:
        waiting.ended.result(10)
    assert not late.value.was_sent
    wait_until(lambda: begun.start_by_s is not None and time.monotonic() > begun.start_by_s + 0.6, "its time is over")
    case.answer(begun)
    assert begun.ended.result(10).ok
    assert case.requests() == [spent.request.id]  # it was paid for, and goes on


def test_a_call_that_was_sent_and_waits_to_be_sent_again_was_sent_when_its_time_is_over(case: StreamCase) -> None:
    spent = case.begin()
    case.hold(spent)
    failed = (AttemptError(500, "http_500", "made up"),)
    case.transitions.retry(QUEUE, [Retry(case.key_of(spent), "token", 60_000, failed)])
    case.desk.abandon(spent)
    assert spent.withdrawn.result(10) is True
    assert case.requests() == []
