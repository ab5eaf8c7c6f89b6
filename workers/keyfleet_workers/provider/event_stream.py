"""An answer that comes as server-sent events, read as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from urllib3.exceptions import HTTPError

from keyfleet.server_sent_events import EVENT_STREAM, split_events

__all__ = ["EventStream", "StreamTooLarge", "is_event_stream"]

READ_BYTES = 65_536
"""Most bytes that are read at once; fewer as soon as there are some."""

MOST_EVENT_BYTES = 32 * 1024 * 1024
"""Longest single event: a whole image as text is some megabytes."""


class StreamTooLarge(HTTPError):
    """A single event is longer than any can be."""


@dataclass(slots=True)
class EventStream:
    """An answer that has begun. Times are on the monotonic clock; `is_delimited`: its end can be told from a break."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    written_s: float
    begun_s: float
    """When its head was read."""
    is_delimited: bool
    raw: Any = field(repr=False)
    fail: Callable[[Exception], Exception] = field(repr=False)
    """Makes of an error of the network what `events` raises."""

    def events(self) -> Iterator[bytes]:
        """Whole events with the blank lines behind them, as soon as they are there. Raises CallFailed."""
        rest = b""
        while True:
            try:
                data = self.raw.read1(READ_BYTES, decode_content=True)
                if len(rest) + len(data) > MOST_EVENT_BYTES + READ_BYTES:
                    raise StreamTooLarge("an event is too long")
            except (OSError, HTTPError) as error:
                failure = self.fail(error)
            else:
                if not data:
                    break
                events, rest = split_events(rest + data)
                yield from events
                continue
            raise failure  # outside of the handler, as in ProviderClient
        if rest.strip():
            yield rest.rstrip(b"\r\n") + b"\n\n"

    def close(self) -> None:
        """Leave the answer where it is; the provider sees its client leave, unless all of it was read."""
        self.raw.close()


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer comes as events."""
    return 200 <= status < 300 and headers.get("content-type", "").partition(";")[0].strip().lower() == EVENT_STREAM
