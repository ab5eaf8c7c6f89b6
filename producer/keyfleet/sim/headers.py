"""HTTP heads and the headers by which providers tell how a key stands."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from keyfleet.sim.enforcement import Standing

__all__ = [
    "LAST_CHUNK",
    "chunk",
    "duration_text",
    "rate_limit_headers",
    "response",
    "retry_headers",
    "stream_head",
]

_NS_PER_MS = 1_000_000
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}


def duration_text(duration_ns: int) -> str:
    """A duration as OpenAI writes it (Go's notation, to the millisecond, rounded up): 6m0s, 1.5s, 120ms, 0s."""
    total_ms = -(-duration_ns // _NS_PER_MS)
    if total_ms < 1000:
        return f"{total_ms}ms" if total_ms else "0s"
    minutes, rest_ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def rate_limit_headers(standings: Iterable[Standing]) -> str:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` for the limits given."""
    return "".join(
        f"x-ratelimit-limit-{one.limit.of}: {one.limit.amount}\r\n"
        f"x-ratelimit-remaining-{one.limit.of}: {one.remaining}\r\n"
        f"x-ratelimit-reset-{one.limit.of}: {duration_text(one.reset_ns)}\r\n"
        for one in standings
    )


def retry_headers(wait_ns: int) -> str:
    """`retry-after-ms` and `retry-after` (whole seconds), both rounded up, so that obeying either is enough."""
    wait_ms = -(-wait_ns // _NS_PER_MS)
    return f"retry-after-ms: {wait_ms}\r\nretry-after: {-(-wait_ms // 1000)}\r\n"


def response(status: int, body: bytes, headers: str = "") -> bytes:
    """A whole HTTP/1.1 answer. `headers` are further header lines, each ended by CRLF."""
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode("latin-1") + body


LAST_CHUNK = b"0\r\n\r\n"
"""Ends an answer that is sent in chunks; without it, the answer broke off."""


def stream_head(headers: str) -> bytes:
    """The head of an answer of server-sent events in chunks. `headers` as for `response`."""
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
        f"{headers}\r\n"
    )
    return head.encode("latin-1")


def chunk(payload: bytes) -> bytes:
    """A part, not empty, of an answer that is sent in chunks."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)
