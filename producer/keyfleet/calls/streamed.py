"""An answer that is read as it comes."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterator
from types import TracebackType

from keyfleet.calls.book import Call
from keyfleet.calls.desk import CallDesk
from keyfleet.calls.stream import CallStream
from keyfleet.errors import StreamBroken
from keyfleet.ledger.pieces import StreamHead

__all__ = ["StreamedAnswer"]


class StreamedAnswer:
    """The server-sent events of an answer that has begun, as bytes: each part is one or several whole events.

    To be iterated once, by one thread or one task. It raises StreamBroken where the answer ends in its midst. Whoever
    doesn't read it to its end closes it, which stops the call at the provider.
    """

    def __init__(self, desk: CallDesk, call: Call, stream: CallStream, head: StreamHead) -> None:
        self.status = head.status
        self.key_name = head.key_name
        self.request_id = head.request_id
        self.attempts = head.attempts
        self._desk = desk
        self._call = call
        self._stream = stream
        self._has_told = False
        self._leave = weakref.finalize(self, _leave, desk, call)
        self._leave.atexit = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            while True:
                self._stream.wait(None)
                data = self._take()
                if data:
                    yield data
                elif self._is_read:
                    return
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        self._stream.on_change = tell
        try:
            while True:
                changed.clear()
                is_over = self._is_read  # before it is taken from, since the end may come in between
                data = self._take()
                if data:
                    yield data
                elif is_over:
                    return
                else:
                    await changed.wait()
        finally:
            self.close()

    @property
    def _is_read(self) -> bool:
        return self._stream.is_over and not self._stream.has_more

    def _take(self) -> bytes:
        data = self._stream.take()
        read_bytes = self._stream.unacknowledged_read()
        if read_bytes is not None:
            self._has_told = True
            self._desk.note_read(self._call, read_bytes)
        return data

    def close(self) -> None:
        """Read no more of it; the call is stopped, unless it is over. Waits for nothing.

        Whoever reads it elsewhere just then gets a StreamBroken.
        """
        if self._leave.detach() is None:
            return
        self._stream.end(StreamBroken("the stream was closed", attempts=self.attempts))
        self._stream.on_change = _nothing
        _leave(self._desk, self._call)
        if self._has_told:
            self._desk.note_read(self._call, None)

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def __enter__(self) -> StreamedAnswer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nothing() -> None:
    """Nobody reads any more."""


def _leave(desk: CallDesk, call: Call) -> None:
    if not call.ended.done():
        desk.abandon(call)
