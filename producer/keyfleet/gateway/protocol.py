"""uvicorn's HTTP/1.1 with bounds on what clients may do to it, and errors in OpenAI's shape.

uvicorn waits for ever for a head, a body, and a client that takes its answer; it bounds no head; it loses the body of a
request that asks for another protocol; of a client that has sent several requests at once and leaves, it tells the
last of these alone, and of one that sends another request and leaves, nothing; and it sends HTTP/1.0 clients chunks.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keyfleet.api import Reply, error_reply
from keyfleet.gateway.terms import OTHER_FILES, GatewayTerms

__all__ = ["BoundedProtocol", "bounded_protocol"]

MOST_HEAD_BYTES = 65_536
"""So much may come without a head, a piece of a body or a body's end coming of it: heads, trailers, extensions."""

MOST_QUEUED = 4
"""Requests behind the one that is answered with which a connection is read on, so that its end is noticed. Of more, or
of one with a body of more than 64 kB, the rest is left with the client until it is their turn."""

TOO_MANY_HEAD_S = 1.0
"""How long the head of a request may take on a connection that is one too many (s)."""

MOST_TOO_MANY = OTHER_FILES // 2
"""Connections beyond the maximum that are told so; any more are ended unheard, before open files run out."""

LAST_REQUESTS_S = 0.5
"""How long a server that ends still hears what clients have sent by then, or are just sending, on idle connections (s):
to these a closed connection doesn't tell whether their call was taken."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `terms` and `refuse` are set by `bounded_protocol`."""

    terms: GatewayTerms
    refuse: ASGIApp
    """Answers the requests of connections that are too many."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._cycles: list[RequestResponseCycle] = []
        self._is_too_many = False
        self._is_in_head = True
        self._asks_for_other = False
        self._whole_requests = 0
        self._fruitless_bytes = 0
        self._heard_s = 0.0
        self._unsent_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        too_many = len(self.connections) - self.terms.max_connections
        if too_many > MOST_TOO_MANY:
            transport.abort()
            return
        if too_many > 0:
            self._is_too_many = True
            self.app = self.refuse
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._body_timer, self._write_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        whole_before = self._whole_requests
        self._heard_s = self.loop.time()
        self._fruitless_bytes += len(data)
        self._feed(data)
        if self.transport.is_closing():
            return
        if self._fruitless_bytes > MOST_HEAD_BYTES:
            message = f"the request's head is longer than {MOST_HEAD_BYTES} bytes"
            self._refuse(error_reply(431, message, code="head_too_large"))
        elif not self._is_in_head:
            self._expect_body(self.terms.body_silence_s)
        elif self._whole_requests == whole_before:
            self._expect_head()

    def _feed(self, data: bytes) -> None:
        """As uvicorn's `data_received`, which loses the body of a request that asks for another protocol: Java's client
        does so by default."""
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self.scope["method"] == "CONNECT":
                    self.send_400_response("")
                    return
                data = self._begin_again() + data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("")
                return

    def _begin_again(self) -> bytes:
        """The head that was read, without asking for another protocol, for a parser that hasn't seen it."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets them
        lines = [b"%s %s HTTP/1.1" % (self.scope["method"].encode(), self.url)]
        for name, value in self.headers:
            if name == b"connection":
                lines += (b"connection: close" for one in value.split(b",") if one.strip().lower() == b"close")
            elif name != b"upgrade":
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # else it is a trailer, which must not be taken for a header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._fruitless_bytes = 0
        self._is_in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._asks_for_other = self.parser.should_upgrade()
        if self._asks_for_other:
            self.scope["method"] = self.parser.get_method().decode("ascii")
            return
        super().on_headers_complete()
        if self._is_too_many:
            self.cycle.keep_alive = False
        if self.scope["http_version"] == "1.0":
            _end_with_connection(self.cycle)
        if 0 < len(self.pipeline) <= MOST_QUEUED:
            self.flow.resume_reading()
        self._cycles = [*(cycle for cycle in self._cycles if not cycle.response_complete), self.cycle]

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._fruitless_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._asks_for_other:
            return  # this was its head alone
        self._fruitless_bytes = 0
        self._whole_requests += 1
        self._is_in_head = True
        super().on_message_complete()

    def shutdown(self) -> None:
        """The server ends: so does the connection, with the answer under way, or soon where there is none. May be told
        again and again."""
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        elif self._end_timer is None:
            self._end_timer = self.loop.call_later(LAST_REQUESTS_S, super().shutdown)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._end_timer is not None:
            super().shutdown()
        if self.transport.get_write_buffer_size():
            self._expect_reader()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(error_reply(400, "the request is no HTTP/1.1 that can be read", code="invalid_request"))

    def _expect_head(self) -> None:
        if self._head_timer is None:
            wait_s = min(self.terms.head_s, TOO_MANY_HEAD_S) if self._is_too_many else self.terms.head_s
            self._head_timer = self.loop.call_later(wait_s, self._on_no_head)

    def _on_no_head(self) -> None:
        self._head_timer = None
        if any(not cycle.response_complete for cycle in self._cycles):
            self._expect_head()  # a call is under way, and this is the beginning of another
        else:
            self._refuse(_too_slow("the head of the request"))

    def _expect_body(self, wait_s: float) -> None:
        if self._body_timer is None:
            self._body_timer = self.loop.call_later(wait_s, self._on_silence)

    def _on_silence(self) -> None:
        self._body_timer = None
        if self._is_in_head or self.transport.is_closing():
            return
        left_s = self._heard_s + self.terms.body_silence_s - self.loop.time()
        if self.cycle.response_complete:
            self.transport.close()  # it was answered before its end, and has no more to say
        elif self.flow.read_paused or self.pipeline:
            self._expect_body(self.terms.body_silence_s)  # not the client makes a pause, or a call is under way
        elif left_s > 0:
            self._expect_body(left_s)
        else:
            self._refuse(_too_slow("the body of the request"))

    def _expect_reader(self) -> None:
        if self._write_timer is None:
            self._unsent_bytes = self.transport.get_write_buffer_size()
            self._write_timer = self.loop.call_later(self.terms.unread_s, self._on_no_reader)

    def _on_no_reader(self) -> None:
        self._write_timer = None
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes >= self._unsent_bytes > 0:
            self.transport.abort()
        elif unsent_bytes:
            self._expect_reader()

    def _refuse(self, reply: Reply) -> None:
        """End the connection: with an answer, where no other has been begun on it."""
        is_amid_answer = any(cycle.response_started and not cycle.response_complete for cycle in self._cycles)
        if not is_amid_answer and not self.transport.is_closing():
            self.transport.write(_text_of(reply))
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()
        self._expect_reader()


def bounded_protocol(terms: GatewayTerms, refuse: ASGIApp) -> type[BoundedProtocol]:
    """The protocol's class for a server with these terms; `refuse` answers on connections that are too many."""
    return type("BoundedProtocol", (BoundedProtocol,), {"terms": terms, "refuse": staticmethod(refuse)})


def _end_with_connection(cycle: RequestResponseCycle) -> None:
    """HTTP/1.0 knows no chunks: there an answer of unknown length ends with its connection."""
    send, is_unknown = cycle.send, False

    async def send_plainly(message: Any) -> None:
        nonlocal is_unknown
        if message["type"] == "http.response.start":
            is_unknown = all(name != b"content-length" for name, _ in message["headers"])
            if is_unknown:
                cycle.chunked_encoding = False
        elif is_unknown:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_plainly  # type: ignore[method-assign]


def _too_slow(what: str) -> Reply:
    return error_reply(408, f"{what} did not come in time", code="request_timeout")


def _text_of(reply: Reply) -> bytes:
    """The whole answer, after which the connection ends."""
    headers = {**reply.headers, "content-length": str(len(reply.body)), "connection": "close"}
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body
