"""Looking for what must not be seen: in all that a server holds and is sent, and in files and process lists."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import redis

__all__ = ["Eavesdropper", "contents_of", "everything_in", "forms_of", "traces_in"]

PIECE_CHARACTERS = 8
"""So many characters from either end of a secret must not be seen either."""


def forms_of(secret: str, *, with_ends: bool = True) -> list[bytes]:
    """How a secret may stand somewhere: whole, in base64, and its ends, which providers show."""
    whole = [secret, base64.b64encode(secret.encode()).decode().rstrip("=")]
    ends = [secret[:PIECE_CHARACTERS], secret[-PIECE_CHARACTERS:]] if with_ends else []
    return [form.encode() for form in (*whole, *ends)]


def traces_in(text: bytes, forms: Iterable[bytes]) -> list[bytes]:
    """Where any of `forms` stands in `text`, each with its neighbourhood."""
    places = [text.find(form) for form in forms]
    return [text[max(0, place - 80) : place + 80] for place in places if place >= 0]


def contents_of(client: redis.Redis) -> dict[bytes, bytes]:
    """Every key of the server with all that it holds, as one text each."""
    found: dict[bytes, bytes] = {}
    for key in client.scan_iter(count=1000):
        readers: dict[bytes, Any] = {
            b"string": lambda key: [client.get(key)],
            b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],  # type: ignore[union-attr]
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"list": lambda key: client.lrange(key, 0, -1),
            b"stream": lambda key: [part for _, entry in client.xrange(key) for part in entry.values()],  # type: ignore[union-attr]
            b"none": lambda key: [],  # it was there a moment ago
        }
        kind: Any = client.type(key)
        with contextlib.suppress(redis.ResponseError):  # another kind took its place
            found[key] = b"\n".join(part for part in readers[kind](key) if part is not None)
    return found


def everything_in(client: redis.Redis) -> Iterator[bytes]:
    """The names of all keys, and all that they hold."""
    for name, content in contents_of(client).items():
        yield name
        yield content


class Eavesdropper:
    """Hears every command that a server is sent, those of scripts as well, while the block lasts."""

    def __init__(self, socket_path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(socket_path))
        self._heard = bytearray()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Eavesdropper:
        self._connection.sendall(b"MONITOR\r\n")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10.0)
        self._connection.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._connection.recv(1 << 20):
                self._heard += data

    @property
    def heard(self) -> bytes:
        """All commands so far, one a line."""
        return bytes(self._heard)
