"""One streamed answer on its way to its caller: what waits to be passed on, within a window of bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from keyfleet.clock import elapsed_s
from keyfleet.ledger.pieces import ACK_BYTES, StreamHead
from keyfleet.ledger.transitions import NOBODY_WAITS, UNKNOWN, OutgoingPiece
from keyfleet_workers.provider.ongoing_call import OngoingCall

__all__ = ["ALIVE_S", "WINDOW_BYTES", "OutgoingStream", "StreamRefused"]

WINDOW_BYTES = 262_144
"""Most of an answer that its caller hasn't read yet: all that a slow caller takes up on the way."""

MOST_PIECE_BYTES = 65_536
"""Most that is passed on at once, but for a longer event."""

ALIVE_S = 2.0
"""After so long a silence of the provider, the caller is told that the worker lives (s)."""

ASK_S = 0.02
"""Interval of asking how far a slow caller has read (s)."""

UNKNOWN_GRACE_S = 5.0
"""So long a request may be missing in the ledger: after the server lost its last seconds, workers put it back (s)."""

SILENCE_GRACE_S = 2.0
"""So long a caller may count as gone: where the server was away, the caller needs a moment to say that it lives (s)."""

STOOD_STILL_S = 1.0
"""Between two refusals that are further apart the broker stood still or was away, and heard nobody (s)."""

NEVER_S = float("-inf")

_GRACES_S = {UNKNOWN: UNKNOWN_GRACE_S, NOBODY_WAITS: SILENCE_GRACE_S}


class StreamRefused(Exception):
    """Nobody takes the answer's pieces any more."""


@dataclass(slots=True)
class _Sent:
    """What was passed on, and what is known of how far it was read."""

    number: int = 0
    size_bytes: int = 0
    read_bytes: int = 0


class OutgoingStream:
    """`put` and `finish` are for the thread that reads the answer, the rest for the one that passes it on."""

    def __init__(
        self, queue: str, key: str, token: str, head: StreamHead, ongoing: OngoingCall, wake: Callable[[], None]
    ) -> None:
        """`wake` tells the sender that there is something to pass on."""
        self.queue = queue
        self.job_id = key.partition(":")[0]
        self._key = key
        self._token = token
        self._head = head
        self._ongoing = ongoing
        self._wake = wake
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._piece: OutgoingPiece | None = None
        self._sent = _Sent()
        self._is_full = False
        self._is_refused = False
        self._asked_s = self._spoke_s = elapsed_s()
        self._untaken_s = 0.0
        self._refused_s = NEVER_S

    def put(self, event: bytes) -> None:
        """Pass an event on, once there is room for it. Raises StreamRefused."""
        with self._changed:
            while self._has_no_room(len(event)) and not self._is_over:
                self._is_full = True
                self._changed.wait(ALIVE_S)
            self._is_full = False
            if self._is_over:
                raise StreamRefused
            self._waiting.append(event)
            self._waiting_bytes += len(event)
        self._wake()

    def finish(self) -> int:
        """Wait until all was passed on; returns the number of the last piece. Raises StreamRefused."""
        with self._changed:
            while (self._waiting or self._piece) and not self._is_over:
                self._changed.wait(ALIVE_S)
            if self._is_over:
                raise StreamRefused
            return self._sent.number

    @property
    def _is_over(self) -> bool:
        return self._is_refused or self._ongoing.is_stopped

    def _has_no_room(self, size_bytes: int) -> bool:
        piece_bytes = len(self._piece.body) if self._piece else 0
        outstanding = self._waiting_bytes + piece_bytes + self._sent.size_bytes - self._sent.read_bytes
        return outstanding >= ACK_BYTES and outstanding + size_bytes > WINDOW_BYTES

    def next_piece(self, now_s: float) -> OutgoingPiece | None:
        """What is to be sent now; the same again until it is `noted`. None: nothing."""
        with self._changed:
            if self._piece is None and self._waiting:
                self._piece = self._new_piece(self._joined())
            elif self._piece is None and self._sent.number and now_s - self._spoke_s >= ALIVE_S:
                self._piece = self._new_piece(b"")
            if self._piece is not None:
                self._asked_s = self._spoke_s = now_s
                return self._piece
            if now_s - self._asked_s < (ASK_S if self._is_full else ALIVE_S):
                return None
            self._asked_s = now_s
            return OutgoingPiece(self._key, self._token)

    def note(self, standing: int, now_s: float) -> bool:
        """How the last piece was received; returns whether more waits to be sent."""
        with self._changed:
            if standing >= 0:
                self._received(standing)
            elif self._is_final(standing, now_s):
                self._is_refused = True
                self._ongoing.stop()
            self._changed.notify_all()
            return bool(self._waiting) and not self._is_refused

    def _is_final(self, standing: int, now_s: float) -> bool:
        """Whether what was not taken never will be."""
        if now_s - self._refused_s > STOOD_STILL_S:
            self._untaken_s = now_s
        self._refused_s = now_s
        return standing not in _GRACES_S or now_s - self._untaken_s > _GRACES_S[standing]

    def _received(self, read_bytes: int) -> None:
        self._refused_s = NEVER_S
        self._sent.read_bytes = max(self._sent.read_bytes, read_bytes)
        if self._piece is not None:
            self._sent.number = self._piece.number
            self._sent.size_bytes += len(self._piece.body)
            self._piece = None

    def _joined(self) -> bytes:
        events = [self._waiting.popleft()]
        size_bytes = len(events[0])
        while self._waiting and size_bytes + len(self._waiting[0]) <= MOST_PIECE_BYTES:
            events.append(self._waiting.popleft())
            size_bytes += len(events[-1])
        self._waiting_bytes -= size_bytes
        return b"".join(events)

    def _new_piece(self, body: bytes) -> OutgoingPiece:
        number = self._sent.number + 1
        return OutgoingPiece(self._key, self._token, number, body, self._head if number == 1 else None)
