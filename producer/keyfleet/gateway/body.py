"""Reading the body of a request, no further than it is wanted, and taking it apart."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Executor

from keyfleet.api import Refused, Reply, error_reply
from keyfleet.batch.json_text import Member, NotJSON, members_of
from keyfleet.gateway.exchange import Exchange
from keyfleet.gateway.held_bytes import Holding

__all__ = ["read_body", "read_members", "read_members_apart"]

_JSON_TYPE = "application/json"

LARGE_BYTES = 256_000
"""Longer bodies are taken apart on a thread, since the event loop would stand still for everybody meanwhile."""

MOST_VALUES = 2_000_000
"""Most commas and opening brackets of one body, those in texts among them. Python lets nobody else go on while it reads
one value, some 0.7 s for lists of so many. OpenAI takes 300,000 token numbers in one request, which lists that are
spread over calls may exceed, and 64 MB of English have some 800,000 commas."""

_COUNTED_BYTES = 1_000_000
"""Counted at a time, between which others may go on."""


async def read_body(exchange: Exchange, most_bytes: int, holding: Holding) -> bytes:
    """The whole body; room is taken for it in `holding` before it is read. Raises ClientGone, and Refused where it is
    no JSON by its head, longer than `most_bytes`, or there is no room.

    A type is asked for since browsers let any web page send forms and plain text to any address.
    """
    headers = exchange.headers
    if _media_type(headers.get("content-type", "")) != _JSON_TYPE:
        message = f"content-type: expected {_JSON_TYPE}"
        raise Refused(error_reply(400, message, code="invalid_content_type", param="content-type"))
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        message = "content-encoding: expected a body that is not compressed"
        raise Refused(error_reply(415, message, code="unsupported_encoding", param="content-encoding"))
    declared_bytes = exchange.declared_bytes
    if math.isfinite(declared_bytes):
        if declared_bytes > most_bytes:
            raise Refused(_too_large(most_bytes))
        holding.reach(int(declared_bytes))
    pieces: list[bytes] = []
    size_bytes, has_more = 0, True
    while has_more:
        piece, has_more = await exchange.piece()
        size_bytes += len(piece)
        if size_bytes > most_bytes:
            raise Refused(_too_large(most_bytes))
        holding.reach(size_bytes)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_members(body: bytes) -> tuple[Member, ...]:
    """The members of the JSON object that the body is. Raises Refused, also for a field that stands there twice: the
    provider might read another of the two than was looked at here."""
    if _has_too_many_values(body):
        message = f"the body has more than {MOST_VALUES} values (commas and opening brackets); expected fewer"
        raise Refused(error_reply(400, message, code="too_many_values"))
    try:
        members = members_of(body)
    except NotJSON as error:
        problem = str(error).replace(" of the line", "")
        raise Refused(_invalid_json(f"the body is no JSON: {problem}")) from None
    if members is None:
        raise Refused(_invalid_json("the body is JSON, but no object; expected one object"))
    if len({member.key for member in members}) != len(members):
        raise Refused(_invalid_json("the body has a field twice; expected each once"))
    return members


async def read_members_apart(body: bytes, readers: Executor) -> tuple[Member, ...]:
    """As `read_members`, on one of `readers` where it takes long."""
    if len(body) <= LARGE_BYTES:
        return read_members(body)
    return await asyncio.get_running_loop().run_in_executor(readers, read_members, body)


def _has_too_many_values(body: bytes) -> bool:
    count = 0
    for start in range(0, len(body), _COUNTED_BYTES):
        end = start + _COUNTED_BYTES
        count += sum(body.count(mark, start, end) for mark in (b",", b"[", b"{"))
        if count > MOST_VALUES:
            return True
    return False


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _too_large(most_bytes: int) -> Reply:
    return error_reply(413, f"the body is longer than {most_bytes} bytes", code="request_too_large")


def _invalid_json(message: str) -> Reply:
    return error_reply(400, message, code="invalid_json")
