"""A way to a server that can stop passing bytes and go on later, as a network that is cut and comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

__all__ = ["Address", "Forwarder", "Passage", "Piece"]

PIECE_BYTES = 1 << 20
LOOPBACK = ("127.0.0.1", 0)

Address = Path | tuple[str, int]
"""A unix socket, or host and port."""


Entered = TypeVar("Entered", bound="Forwarder")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes on their way: to the server or `back` from it.

    `asked` is what went to it on this connection since it last answered, with these bytes: clients send large commands
    in several pieces.
    """

    data: bytes
    back: bool
    asked: bytes


@dataclass(slots=True)
class Passage:
    """One connection, with an end on either side."""

    client: socket.socket
    server: socket.socket
    asked: bytes = b""
    is_answered: bool = False
    takes: Callable[[bytes, bool], bool] = field(default=lambda data, back: True)
    """Asked with all that arrives and whether it is on its way back: False loses it without anybody's learning."""

    def end(self) -> None:
        """Cut it, for both sides to see."""
        for one in (self.client, self.server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Forwarder:
    """Passes connections on to `to` until it is closed.

    While it is frozen nothing passes, either way; connections stay open and what was sent arrives once it thaws, as
    TCP has it. `freezes_at(piece)` is asked about everything that passes, until True freezes it once: that piece is
    the first that doesn't pass.
    """

    def __init__(
        self, to: Address, *, at: Address = LOOPBACK, freezes_at: Callable[[Piece], bool] | None = None
    ) -> None:
        self.frozen = threading.Event()
        """Set once it has been frozen."""
        self._to = to
        self._freezes_at = freezes_at
        self._passes = threading.Event()
        self._passes.set()
        self._lock = threading.Lock()
        self._passages: list[Passage] = []
        self._closed = False
        self._listener = _listen(at)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens, as the address of a broker."""
        name = self._listener.getsockname()
        return f"unix://{name}" if isinstance(name, str) else f"redis://{name[0]}:{name[1]}/0"

    @property
    def base_url(self) -> str:
        """Where it listens, as the address of a provider."""
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def passages(self) -> list[Passage]:
        """The connections that are open now."""
        with self._lock:
            return list(self._passages)

    def freeze(self) -> None:
        """Let nothing pass any more."""
        self._passes.clear()
        self.frozen.set()

    def thaw(self) -> None:
        """Let everything pass again."""
        self._passes.set()

    def close(self) -> None:
        """End all connections; what was held back is lost."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for passage in self.passages():
            passage.end()
        self._passes.set()

    def __enter__(self: Entered) -> Entered:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._passes.wait()
        with client:
            try:
                server = _connect(self._to)
            except OSError:
                return  # as seen from the client: the server has closed
            with server:
                self._carry_both(self._noted(Passage(client, server)))

    def _noted(self, passage: Passage) -> Passage:
        with self._lock:
            self._passages.append(passage)
        self.opened(passage)
        return passage

    def opened(self, passage: Passage) -> None:
        """For those who do more with connections."""

    def _carry_both(self, passage: Passage) -> None:
        back = threading.Thread(target=self._carry, args=(passage, True), daemon=True)
        back.start()
        self._carry(passage, False)
        back.join()
        with self._lock:
            self._passages.remove(passage)

    def _carry(self, passage: Passage, back: bool) -> None:
        source, target = (passage.server, passage.client) if back else (passage.client, passage.server)
        with contextlib.suppress(OSError):  # one of the sides was cut
            while data := source.recv(PIECE_BYTES):
                if not back:
                    passage.asked = data if passage.is_answered else passage.asked + data
                passage.is_answered = back
                self._look(Piece(data, back, passage.asked))
                self._passes.wait()
                if self._closed:
                    return
                if passage.takes(data, back):
                    target.sendall(data)
        self._passes.wait()  # that a side has left doesn't pass either
        passage.end()

    def _look(self, piece: Piece) -> None:
        with self._lock:
            if self._freezes_at is not None and self._passes.is_set() and self._freezes_at(piece):
                self._freezes_at = None
                self.freeze()


def _listen(at: Address) -> socket.socket:
    if isinstance(at, tuple):
        return socket.create_server(at)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(at))
    listener.listen(100)
    return listener


def _connect(to: Address) -> socket.socket:
    if isinstance(to, tuple):
        return socket.create_connection(to)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(str(to))
    except OSError:
        server.close()
        raise
    return server
