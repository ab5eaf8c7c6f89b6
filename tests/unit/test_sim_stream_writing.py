"""A stream is written no faster than its reader takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

from keyfleet.sim.headers import LAST_CHUNK, chunk
from keyfleet.sim.protocol import HttpConnection
from keyfleet.sim.streamed_answers import StreamedAnswer
from keyfleet.sim.streaming import StreamPlan, StreamWriter


class FullTransport(asyncio.Transport):
    """A socket that takes nothing at once: the connection is told so, as asyncio does."""

    def __init__(self, connection: HttpConnection) -> None:
        super().__init__()
        self._connection = connection
        self.written: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def write(self, data: Any) -> None:
        self.written.append(data)
        self._connection.pause_writing()


def test_a_part_is_taken_once_the_kernel_has_it() -> None:
    connection = HttpConnection(lambda request, connection: None, set())
    transport = FullTransport(connection)
    connection.connection_made(transport)
    taken: list[str] = []
    assert connection.send_part(b"a", lambda: taken.append("a")) is False
    assert taken == []
    connection.resume_writing()
    connection.resume_writing()
    assert taken == ["a"], "once"
    assert connection.send_part(b"b", lambda: taken.append("b")) is False
    connection.connection_lost(None)
    connection.resume_writing()
    assert (taken, transport.written) == (["a"], [b"a", b"b"])


class SlowConnection:
    """Takes one part at a time, and only when told."""

    def __init__(self) -> None:
        self.is_closing = False
        self.sent: list[bytes] = []
        self.take: Callable[[], None] | None = None

    def send_part(self, payload: bytes, when_taken: Callable[[], None]) -> bool:
        assert self.take is None, "the former part isn't taken yet"
        self.sent.append(payload)
        self.take = when_taken
        return False

    def send(self, payload: bytes, when_written: Callable[[], None]) -> None:
        self.sent.append(payload)
        when_written()

    def take_one(self) -> None:
        take, self.take = self.take, None
        assert take is not None
        take()


def nothing() -> None:
    """Stands for what nobody looks at."""


def test_no_token_is_made_before_the_former_one_is_taken() -> None:
    made: list[int] = []

    def tokens() -> Iterator[bytes]:
        for number in range(3):
            made.append(number)
            yield b"token %d" % number

    async def run() -> list[bytes]:
        answer = StreamedAnswer(b"opening", tokens(), iter([b"closing"]), lambda: b"last", lambda error: b"error")
        connection, ended = SlowConnection(), []
        plan = StreamPlan(b"head", answer)
        writer = StreamWriter(
            cast("HttpConnection", connection), plan, lambda: None, lambda: ended.append(len(connection.sent))
        )
        writer.start()
        for expected in ([], [0], [0, 1], [0, 1, 2]):
            assert made == expected
            connection.take_one()
        assert ended == []
        connection.take_one()
        assert ended == [6]
        return connection.sent

    sent = asyncio.run(run())
    assert sent[0] == b"head" + chunk(b"opening")
    assert sent[1:5] == [chunk(b"token 0"), chunk(b"token 1"), chunk(b"token 2"), chunk(b"closing")]
    assert sent[5] == chunk(b"last") + LAST_CHUNK


def test_nothing_is_written_once_the_client_has_left() -> None:
    async def run() -> list[bytes]:
        answer = StreamedAnswer(b"opening", iter([b"a", b"b"]), iter([]), lambda: b"last", lambda error: b"error")
        connection = SlowConnection()
        writer = StreamWriter(cast("HttpConnection", connection), StreamPlan(b"head", answer), nothing, nothing)
        writer.start()
        connection.is_closing = True
        connection.take_one()
        return connection.sent

    assert asyncio.run(run()) == [b"head" + chunk(b"opening")]
