"""A way to a provider that forgets connections on which nothing passes, as address translation and balancers do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

from support.forwarder import Address, Forwarder, Passage

__all__ = ["ForgetfulPath"]

LOOK_S = 0.05
"""Interval of looking for packets (s)."""

SEGMENTS_IN = struct.Struct("=136xII")
"""Of Linux's `struct tcp_info`: the counts of segments sent and received (`tcpi_segs_out`, `tcpi_segs_in`)."""

LINGER_RESET = struct.pack("ii", 1, 0)


class ForgetfulPath(Forwarder):
    """Forgets a connection from whose client no packet has come for `idle_s`; keepalive probes are packets too.

    What the server sends on it then is lost without a word, and what the client sends is answered by a reset, or, on
    a `silent` path, by nothing.
    """

    def __init__(self, to: Address, *, idle_s: float, silent: bool = False) -> None:
        self.forgotten = 0
        self._idle_s = idle_s
        self._silent = silent
        super().__init__(to)

    def opened(self, passage: Passage) -> None:
        """Watch it."""
        threading.Thread(target=self._watch, args=(passage,), daemon=True).start()

    def _watch(self, passage: Passage) -> None:
        segments, since_s = -1, time.monotonic()
        pause = threading.Event()
        with contextlib.suppress(OSError):  # it has ended
            while time.monotonic() - since_s < self._idle_s:
                found = _segments_in(passage.client)
                if found != segments:
                    segments, since_s = found, time.monotonic()
                pause.wait(LOOK_S)
            self.forgotten += 1
            passage.takes = lambda data, back: self._lose(passage, back)

    def _lose(self, passage: Passage, back: bool) -> bool:
        if not back and not self._silent:
            passage.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            passage.client.close()
        return False


def _segments_in(one: socket.socket) -> int:
    """How many TCP segments have come, those without any data included."""
    _, received = SEGMENTS_IN.unpack(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SEGMENTS_IN.size))
    return int(received)
