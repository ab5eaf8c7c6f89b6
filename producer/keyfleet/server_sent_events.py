"""Server-sent events: cutting a stream of bytes into them, and what they carry.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["EVENT_STREAM", "data_of", "documents_in", "split_events"]

EVENT_STREAM = "text/event-stream"
"""Their content type."""

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA_LINE = re.compile(rb"^data: ?(.*?)\r?$", re.MULTILINE)
_DONE = b"[DONE]"
"""What OpenAI's streams of chunks end with."""


def split_events(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole events in `data`, each with the blank line behind it, and what is left."""
    events, start = [], 0
    for found in _BLANK_LINE.finditer(data):
        events.append(data[start : found.end()])
        start = found.end()
    return events, data[start:]


def data_of(event: bytes) -> bytes:
    """The text that an event carries, of several lines joined; empty for a comment."""
    return b"\n".join(_DATA_LINE.findall(event))


def documents_in(events: bytes) -> Iterator[Any]:
    """What whole events hold, one by one; comments, the mark of the end and what is no JSON are left out."""
    for event in split_events(events)[0]:
        data = data_of(event).strip()
        if not data or data == _DONE:
            continue
        try:
            yield json.loads(data)
        except (ValueError, RecursionError):
            continue
