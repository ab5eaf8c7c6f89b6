"""A call under way, which another thread may stop."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["CallStopped", "OngoingCall"]


class CallStopped(OSError):
    """The call was stopped before it was written."""


class OngoingCall:
    """One call. `stop` is for any thread, the rest for the one that calls. `has_begun`: a part of its answer has been
    passed on, so the call can't be made again."""

    def __init__(self) -> None:
        self.has_begun = False
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
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

    def goes_over(self, connection: socket.socket | None) -> None:
        """From now on it is this connection that `stop` ends. Raises CallStopped."""
        with self._lock:
            self._connection = connection
            if self._is_stopped:
                raise CallStopped("the call was stopped before it was written")

    def end(self) -> None:
        """The call is over, and its connection may be another call's."""
        with self._lock:
            self._connection = None

    def _shut_down(self) -> None:
        if self._connection is not None:
            with suppress(OSError):  # the provider was faster
                self._connection.shutdown(socket.SHUT_RDWR)
