"""A way to a server that can lose what the server answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["LossyLink"]

PIECE_BYTES = 1 << 20


class LossyLink:
    """Passes a unix socket's connections on to another's until it is closed.

    `loses(data)` is asked about everything that is sent: True cuts that connection as its answer comes, so that the
    server has done what it was asked and whoever asked never learns of it.
    """

    def __init__(self, path: Path, server: Path, loses: Callable[[bytes], bool]) -> None:
        self.url = f"unix://{path}"
        self.losses = 0
        self._server = server
        self._loses = loses
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no new connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._server))
            cut = threading.Event()
            back = threading.Thread(target=self._carry_back, args=(client, server, cut), daemon=True)
            back.start()
            self._carry_there(client, server, cut)
            back.join()

    def _carry_there(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        try:
            while data := client.recv(PIECE_BYTES):
                if self._loses(data):
                    cut.set()
                server.sendall(data)
        except OSError:
            pass  # the other side was cut
        _end(client, server)

    def _carry_back(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        try:
            while (data := server.recv(PIECE_BYTES)) and not cut.is_set():
                client.sendall(data)
        except OSError:
            pass  # the other side has left
        self.losses += cut.is_set()
        _end(client, server)


def _end(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # it has ended already
