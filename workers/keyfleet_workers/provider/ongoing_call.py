"""A call under way, which another thread may stop."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

__all__ = ["CallStopped", "OngoingCall"]


class CallStopped(OSError):
    """The call was stopped before it was written."""


class OngoingCall:
    """One call. `stop` is for any thread, the rest for the one that calls. `has_begun`: a part of its answer has been
    passed on, so the call can't be made again; `pieces` is the number of the last one, once all were."""

    def __init__(self) -> None:
        self.has_begun = False
        self.pieces = 0
        self._lock = threading.Lock()
        self._connection: Any = None
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to stop; its answer may have come all the same."""
        return self._is_stopped

    def stop(self) -> None:
        """End the call where it is: the provider sees its client leave."""
        with self._lock:
            self._is_stopped = True
            self._shut_down()

    def goes_over(self, connection: Any) -> None:
        """From now on it is this connection that `stop` ends. Raises CallStopped."""
        with self._lock:
            self._connection = connection
            if self._is_stopped:
                raise CallStopped("the call was stopped before it was written")

    def end(self) -> None:
        """The call is over, and its connection may be another call's."""
        with self._lock:
            self._connection = None

    def leaves(self, connection: Any) -> None:
        """The answer was read to its end, and the connection goes back to those that any call may use."""
        with self._lock:
            if self._connection is connection:
                self._connection = None

    def has_no_patience(self, silence_s: float) -> None:
        """From now on the provider may be silent for so long at the most."""
        with self._lock:
            if self._connection is not None:
                self._connection.settimeout(silence_s)

    def _shut_down(self) -> None:
        if self._connection is not None:
            with suppress(OSError):  # the provider was faster
                socket.socket.shutdown(_innermost(self._connection), socket.SHUT_RDWR)


def _innermost(connection: Any) -> socket.socket:
    """The socket below TLS, which goes on to encrypt: TLS's own `shutdown` lets what is just being written go out in
    plain. TLS within the TLS of a proxy has its socket within."""
    while not isinstance(connection, socket.socket):
        connection = connection.socket
    return connection
