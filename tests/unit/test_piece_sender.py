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
    """A broker that takes so long for each answer, and holds the caller for gone until it was asked twice."""

    def __init__(self, takes_s: float) -> None:
        self.now_s = 100.0
        self.passed_on: list[bytes] = []
        self._takes_s = takes_s
        self._refusals = 2

    def stream(self, queue: str, job_id: str, pieces: Sequence[OutgoingPiece], pipeline: Any = None) -> list[int]:
        self.now_s += self._takes_s
        self._takes_s = 0.0
        if self._refusals:
            self._refusals -= 1
            return [NOBODY_WAITS] * len(pieces)
        self.passed_on += [piece.body for piece in pieces]
        return [0] * len(pieces)


def test_a_broker_that_stood_still_has_not_refused_an_answer_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = SlowTransitions(2 * SILENCE_GRACE_S)
    for module in (outgoing_stream, piece_sender):
        monkeypatch.setattr(module, "elapsed_s", lambda: broker.now_s)
    sender = PieceSender(fakeredis.FakeRedis(), broker, threading.Event())
    ongoing = OngoingCall()
    with sender.stream("queue", "job:1", "token", StreamHead(200, "one", 1), ongoing) as stream:
        stream.put(b"a")
        for _ in range(3):
            sender.send()
    assert (broker.passed_on, ongoing.is_stopped) == ([b"a"], False)
