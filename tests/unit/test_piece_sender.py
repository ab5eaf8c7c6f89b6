"""Passing pieces on to a broker that stands still: its answers are as old as when they came."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import fakeredis
import pytest

from keyfleet.ledger.pieces import StreamHead
from keyfleet.ledger.transitions import NOBODY_WAITS, OutgoingPiece, Transitions
from keyfleet_workers.dispatch import outgoing_stream, piece_sender
from keyfleet_workers.dispatch.outgoing_stream import SILENCE_GRACE_S
from keyfleet_workers.dispatch.piece_sender import PieceSender
from keyfleet_workers.provider.ongoing_call import OngoingCall


class SlowTransitions(Transitions):
    """A broker that holds the caller for gone as often as `takes_s` has times that such an answer takes."""

    def __init__(self, *takes_s: float) -> None:
        self.now_s = 100.0
        self.passed_on: list[bytes] = []
        self._takes_s = list(takes_s)

    def stream(self, queue: str, job_id: str, pieces: Sequence[OutgoingPiece], pipeline: Any = None) -> list[int]:
        if self._takes_s:
            self.now_s += self._takes_s.pop(0)
            return [NOBODY_WAITS] * len(pieces)
        self.passed_on += [piece.body for piece in pieces]
        return [0] * len(pieces)


@pytest.mark.parametrize("takes_s", [(2 * SILENCE_GRACE_S, 0.0), (0.0, 2 * SILENCE_GRACE_S), (0.0, 4.0, 0.5, 4.0, 0.5)])
def test_a_broker_that_stood_still_has_not_refused_an_answer_meanwhile(
    takes_s: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = SlowTransitions(*takes_s)
    for module in (outgoing_stream, piece_sender):
        monkeypatch.setattr(module, "elapsed_s", lambda: broker.now_s)
    sender = PieceSender(fakeredis.FakeRedis(), broker, threading.Event())
    ongoing = OngoingCall()
    with sender.stream("queue", "job:1", "token", StreamHead(200, "one", 1), ongoing) as stream:
        stream.put(b"a")
        for _ in range(len(takes_s) + 1):
            sender.send()
    assert (broker.passed_on, ongoing.is_stopped) == ([b"a"], False)
