"""An answer on its way to its caller: pieces in order, a bounded window, and an end where nobody takes them."""

from __future__ import annotations

import threading

import pytest

from keyfleet.ledger.pieces import StreamHead
from keyfleet.ledger.transitions import LEASE_PASSED, NOBODY_WAITS, UNKNOWN, OutgoingPiece
from keyfleet_workers.dispatch import outgoing_stream
from keyfleet_workers.dispatch.outgoing_stream import (
    ALIVE_S,
    ASK_S,
    SILENCE_GRACE_S,
    UNKNOWN_GRACE_S,
    WINDOW_BYTES,
    OutgoingStream,
    StreamRefused,
)
from keyfleet_workers.provider.ongoing_call import OngoingCall
from support.events import wait_until

HEAD = StreamHead(200, "one", 1)


class StreamCase:
    """A stream that began at 100.0 s of a clock."""

    def __init__(self) -> None:
        self.ongoing = OngoingCall()
        self.woken = 0
        self.stream = OutgoingStream("q", "job:1", "token", HEAD, self.ongoing, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def next(self, now_s: float = 100.0) -> OutgoingPiece:
        piece = self.stream.next_piece(now_s)
        assert piece is not None
        return piece

    def refuse(self, standing: int, from_s: float, *, for_s: float = 0.0) -> None:
        """The broker takes nothing for so long, asked twice a second."""
        for half_seconds in range(int(2 * for_s) + 1):
            self.stream.note(standing, from_s + half_seconds / 2)

    def put_apart(self, event: bytes) -> tuple[threading.Thread, list[str]]:
        """Put an event on a thread; the list tells in the end how that went."""
        ends: list[str] = []

        def put() -> None:
            try:
                self.stream.put(event)
                ends.append("put")
            except StreamRefused:
                ends.append("refused")

        thread = threading.Thread(target=put, daemon=True)
        thread.start()
        return thread, ends

    def fill(self) -> None:
        """Send as much as a caller may leave unread."""
        self.stream.put(b"x" * WINDOW_BYTES)
        self.next()
        self.stream.note(0, 100.0)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> StreamCase:
    monkeypatch.setattr(outgoing_stream, "elapsed_s", lambda: 100.0)
    return StreamCase()


def test_events_of_a_moment_are_one_piece_and_the_first_has_the_head(case: StreamCase) -> None:
    case.stream.put(b"a")
    case.stream.put(b"b")
    assert (case.next(), case.woken) == (OutgoingPiece("job:1", "token", 1, b"ab", HEAD), 2)
    case.stream.note(0, 100.0)
    case.stream.put(b"c")
    assert case.next() == OutgoingPiece("job:1", "token", 2, b"c")


def test_a_piece_that_may_not_have_arrived_is_sent_again_as_it_was(case: StreamCase) -> None:
    case.stream.put(b"a")
    first = case.next()
    case.stream.put(b"b")
    assert case.next() is first


def test_more_that_waits_is_told(case: StreamCase) -> None:
    case.stream.put(b"a" * 60_000)
    case.stream.put(b"b" * 60_000)
    assert len(case.next().body) == 60_000
    assert case.stream.note(0, 100.0)
    assert len(case.next().body) == 60_000
    assert not case.stream.note(0, 100.0)


def test_no_more_is_taken_than_the_caller_may_leave_unread_until_it_has_read(case: StreamCase) -> None:
    case.fill()
    thread, ends = case.put_apart(b"more")
    wait_until(lambda: case.stream.next_piece(100.0 + 2 * ASK_S) is not None, "it is asked how far the caller is")
    assert case.next(100.0 + 4 * ASK_S) == OutgoingPiece("job:1", "token")
    assert ends == []
    case.stream.note(100_000, 100.0)
    thread.join(10)
    assert (ends, case.next().body) == (["put"], b"more")


def test_an_event_that_is_larger_than_the_window_goes_alone(case: StreamCase) -> None:
    case.stream.put(b"x" * (2 * WINDOW_BYTES))
    assert len(case.next().body) == 2 * WINDOW_BYTES


def test_while_the_provider_is_silent_the_caller_hears_that_the_worker_lives(case: StreamCase) -> None:
    assert case.stream.next_piece(100.0 + ALIVE_S / 2) is None
    assert case.next(100.0 + ALIVE_S).number == 0
    case.stream.note(0, 100.0)
    case.stream.put(b"a")
    case.next(110.0)
    case.stream.note(0, 110.0)
    assert case.stream.next_piece(110.0 + ALIVE_S / 2) is None
    assert case.next(110.0 + ALIVE_S) == OutgoingPiece("job:1", "token", 2)


def test_a_large_event_behind_a_small_one_that_need_not_be_acknowledged_goes_on(case: StreamCase) -> None:
    case.stream.put(b"small")
    case.next()
    case.stream.note(0, 100.0)
    case.stream.put(b"x" * (2 * WINDOW_BYTES))
    assert len(case.next().body) == 2 * WINDOW_BYTES


def test_a_caller_that_reads_slowly_hears_that_the_worker_lives(case: StreamCase) -> None:
    case.fill()
    thread, _ = case.put_apart(b"more")
    wait_until(lambda: case.stream.next_piece(100.0 + 2 * ASK_S) is not None, "it is asked how far the caller is")
    case.stream.note(0, 100.0 + 2 * ASK_S)
    assert case.next(100.0 + ALIVE_S) == OutgoingPiece("job:1", "token", 2)
    case.ongoing.stop()
    thread.join(10)


def test_where_another_worker_has_the_request_the_call_is_stopped(case: StreamCase) -> None:
    case.fill()
    thread, ends = case.put_apart(b"more")
    case.stream.note(LEASE_PASSED, 100.0)
    thread.join(10)
    assert (ends, case.ongoing.is_stopped) == (["refused"], True)
    with pytest.raises(StreamRefused):
        case.stream.finish()


@pytest.mark.parametrize(("standing", "grace_s"), [(UNKNOWN, UNKNOWN_GRACE_S), (NOBODY_WAITS, SILENCE_GRACE_S)])
def test_after_an_absence_of_the_server_others_have_some_seconds_to_make_good_what_it_lost(
    case: StreamCase, standing: int, grace_s: float
) -> None:
    case.stream.put(b"a")
    first = case.next()
    case.refuse(standing, 100.0, for_s=grace_s / 2)
    assert case.next() is first
    case.stream.note(0, 100.0 + grace_s)
    case.stream.put(b"b")
    assert case.next().body == b"b"
    case.refuse(standing, 200.0, for_s=grace_s)
    assert not case.ongoing.is_stopped
    case.refuse(standing, 200.1 + grace_s)
    assert case.ongoing.is_stopped


def test_the_end_waits_until_all_was_passed_on(case: StreamCase) -> None:
    case.stream.put(b"a")
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(case.stream.finish()), daemon=True)
    thread.start()
    case.next()
    assert thread.is_alive()
    case.stream.note(0, 100.0)
    thread.join(10)
    assert numbers == [1]
