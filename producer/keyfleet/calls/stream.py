"""An answer that comes in pieces, between the thread that reads replies and whoever reads the answer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from keyfleet.errors import StreamBroken
from keyfleet.ledger.pieces import ACK_BYTES, Piece, StreamHead

__all__ = ["CallStream"]


class CallStream:
    """For any thread. `begun` brings the head with the first piece, or None where the call ends without any.

    No more is kept than what the worker may send ahead of the reader.
    """

    def __init__(self) -> None:
        self.begun: Future[StreamHead | None] = Future()
        self.begun.set_running_or_notify_cancel()
        self.heard_s = time.monotonic()
        self.on_change: Callable[[], None] = lambda: None
        """Called, by any thread, when there is something new."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._token = ""
        self._number = 0
        self._waiting: deque[bytes] = deque()
        self._read_bytes = 0
        self._acked_bytes = 0
        self._is_over = False
        self._error: Exception | None = None

    @property
    def number(self) -> int:
        """That of the last piece."""
        return self._number

    @property
    def read_bytes(self) -> int:
        """How many bytes were read."""
        return self._read_bytes

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer has come."""
        return self._number > 0

    def add(self, piece: Piece) -> None:
        """The next piece. Raises StreamBroken where it isn't: then nothing may follow."""
        with self._lock:
            self.heard_s = time.monotonic()
            if self._is_over or (piece.token == self._token and piece.number <= self._number):
                return
            if piece.number != self._number + 1 or (self._token and piece.token != self._token):
                raise StreamBroken("a part of the answer was lost on its way", attempts=1)
            self._token, self._number = piece.token, piece.number
            if piece.body:
                self._waiting.append(piece.body)
            self._changed.notify_all()
        if piece.number == 1:
            self.begun.set_result(piece.head)
        self.on_change()

    def end(self, error: Exception | None) -> None:
        """Nothing follows: the answer is whole, or ends with `error`."""
        with self._lock:
            if self._is_over:
                return
            self._is_over, self._error = True, error
            self._changed.notify_all()
        if not self.has_begun:
            self.begun.set_result(None)
        self.on_change()

    def take(self) -> bytes:
        """What has come and wasn't taken yet; empty for nothing. Behind the last of it the error is raised."""
        with self._lock:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._read_bytes += len(data)
            if not data and self._error is not None:
                raise self._error
            return data

    @property
    def has_more(self) -> bool:
        """Whether something can be taken, or raised."""
        return bool(self._waiting) or self._error is not None

    @property
    def is_over(self) -> bool:
        """Whether nothing will follow what can be taken."""
        return self._is_over

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until there is something to take, or nothing will follow; False when neither came in time."""
        with self._lock:
            return self._changed.wait_for(lambda: bool(self._waiting) or self._is_over, timeout_s)

    def unacknowledged_read(self) -> int | None:
        """How many bytes were read in all, if it is time to tell the worker."""
        with self._lock:
            if self._is_over or self._read_bytes - self._acked_bytes < ACK_BYTES:
                return None
            self._acked_bytes = self._read_bytes
            return self._read_bytes
