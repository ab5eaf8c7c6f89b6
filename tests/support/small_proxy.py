"""A proxy on the loopback: HTTP with CONNECT and with whole addresses, and SOCKS 5, both with a password.

It alone knows where the names of its targets lead, so a call that arrives has come through it and was resolved by it.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from urllib.parse import urlsplit

__all__ = ["PASSWORD", "USER", "SmallProxy"]

USER = "team"
PASSWORD = "p4ssw0rd"

_PIECE_BYTES = 65_536
_SOCKS_VERSION = 5


class SmallProxy:
    """Passes connections for the names in `targets` on to their ports, while the block lasts."""

    def __init__(self, targets: dict[str, int]) -> None:
        self.refusal: bytes | None = None
        """What an HTTP client gets in place of a connection, as `502 Bad Gateway`."""
        self.asked: list[str] = []
        """Where clients wanted to go, as they put it."""
        self._targets = targets
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.port: int = self._listener.getsockname()[1]

    def url(self, scheme: str) -> str:
        """The address with user and password."""
        return f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def __enter__(self) -> SmallProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for connection in list(self._open):
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            first = client.recv(1)
            if first == bytes([_SOCKS_VERSION]):
                self._socks(client)
            elif first:
                self._http(client, first)

    def _http(self, client: socket.socket, head: bytes) -> None:
        while b"\r\n\r\n" not in head:
            head += client.recv(_PIECE_BYTES)
        first, _, rest = head.partition(b"\r\n")
        method, target, _ = first.decode().split(" ")
        self.asked.append(target)
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode())
        if self.refusal is not None or credentials not in rest:
            status = self.refusal or b"407 Proxy Authentication Required"
            page = b"<html>refused by the proxy</html>"
            length = b"content-length: %d" % len(page)
            client.sendall(b"\r\n".join((b"HTTP/1.1 " + status, b"content-type: text/html", length, b"", page)))
            return
        host = target if method == "CONNECT" else urlsplit(target).netloc
        with self._reach(host.partition(":")[0]) as there:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                there.sendall(f"{method} {urlsplit(target).path} HTTP/1.1\r\n".encode() + rest)
            self._join(client, there)

    def _socks(self, client: socket.socket) -> None:
        """RFC 1928 and 1929, as far as a client that names a host and has a password uses them."""
        client.recv(client.recv(1)[0])
        client.sendall(b"\x05\x02")
        client.recv(1)
        user = client.recv(client.recv(1)[0])
        password = client.recv(client.recv(1)[0])
        is_right = (user, password) == (USER.encode(), PASSWORD.encode())
        client.sendall(b"\x01\x00" if is_right else b"\x01\x01")
        if not is_right:
            return
        kind = client.recv(4)[3]
        name = client.recv(client.recv(1)[0]).decode() if kind == 3 else socket.inet_ntoa(client.recv(4))
        client.recv(2)
        self.asked.append(name)
        if name not in self._targets:
            client.sendall(b"\x05\x04\x00\x01" + bytes(6))  # no such host
            return
        with self._reach(name) as there:
            client.sendall(b"\x05\x00\x00\x01" + bytes(6))
            self._join(client, there)

    def _reach(self, name: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._targets[name]), 10.0)
        self._open.add(connection)
        return connection

    def _join(self, client: socket.socket, there: socket.socket) -> None:
        back = threading.Thread(target=_carry, args=(there, client), daemon=True)
        back.start()
        _carry(client, there)
        back.join(10.0)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE_BYTES):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
