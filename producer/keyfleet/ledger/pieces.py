"""Answers that come piece by piece: how their pieces stand in a caller's stream, beside the outcomes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from keyfleet.checked_json import CONTRACT_VERSION, Fields
from keyfleet.errors import MalformedEntry
from keyfleet.ledger.codec import request_id_of

__all__ = ["ACK_BYTES", "Piece", "StreamHead", "decode_piece", "encode_head", "is_piece"]

ACK_BYTES = 65_536
"""After so many bytes a worker is told how far an answer was read; it sends a few times as much ahead at most."""

_PLACE = re.compile(rb"(\S+) (\d{1,15})")


@dataclass(frozen=True, slots=True)
class StreamHead:
    """What is known of an answer as it begins. `attempts` counts its own call too."""

    status: int
    key_name: str
    attempts: int
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole server-sent events of the answer to `request_id`, in the order of `number`, from 1.

    `token` is that of the lease under which the call was made: pieces of another one belong to another answer. The
    first piece has a `head`. An empty `body` only says that the worker lives.
    """

    request_id: str
    token: str
    number: int
    body: bytes = field(repr=False)
    head: StreamHead | None = None


def encode_head(head: StreamHead) -> str:
    """The head as JSON."""
    fields = {"v": CONTRACT_VERSION, "status": head.status, "key_name": head.key_name, "attempts": head.attempts}
    return json.dumps({**fields, "request_id": head.request_id}, separators=(",", ":"))


def is_piece(entry: dict[bytes, bytes]) -> bool:
    """Whether an entry of a job's stream is a piece, and no outcome."""
    return b"piece" in entry


def decode_piece(entry: dict[bytes, bytes]) -> Piece:
    """A piece from one entry of a job's stream. Raises MalformedEntry."""
    place = _PLACE.fullmatch(entry[b"piece"])
    if place is None or int(place[2]) < 1:
        raise MalformedEntry("`piece`: expected a token and a number from 1")
    body, head = entry.get(b"body"), entry.get(b"head", b"")
    if body is None:
        raise MalformedEntry("`body`: expected a part of the answer")
    number = int(place[2])
    token = place[1].decode(errors="replace")
    return Piece(request_id_of(entry), token, number, body, _head(head) if number == 1 else None)


def _head(text: bytes) -> StreamHead:
    fields = Fields.of_text(text)
    fields.check_version()
    return StreamHead(
        fields.count("status"), fields.text("key_name"), fields.count("attempts"), fields.text_or_none("request_id")
    )
