"""Tickets that a worker has read and not begun as its connection ends."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.transport.redis import Channel
from kombu.transport.virtual import Message, base
from kombu.utils.json import dumps
from redis.exceptions import OutOfMemoryError, ResponseError

from keyfleet.ticket_message import Ticket, plain_message, read_ticket
from keyfleet_workers import ticket_transport
from keyfleet_workers.ticket_transport import GuardedChannel, TicketQoS

TICKET = Ticket("3f1c", 32, 5)


class Broken:
    """A channel that encodes and decodes bodies as kombu's does, and can put nothing back."""

    codecs = Channel.codecs
    decode_body = Channel.decode_body
    encode_body = Channel.encode_body
    do_restore = True

    def __init__(self) -> None:
        self.refused: list[Any] = []

    def _restore(self, message: Any) -> None:
        self.refused.append(message)
        raise OSError("gone")


def test_a_ticket_that_is_put_back_is_the_ticket_that_was_read() -> None:
    message: Any = Message(plain_message(TICKET, "q"), Broken())
    assert message.decode()[0] == [32]
    assert read_ticket(json.loads(dumps(message.serializable()))) == TICKET


def test_a_ticket_that_can_not_be_put_back_is_left_to_be_replaced_and_kept_in_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dumped: list[Any] = []
    monkeypatch.setattr(base, "emergency_dump_state", lambda *state, **options: dumped.append(state))
    channel = Broken()
    qos: Any = TicketQoS(channel)  # type: ignore[no-untyped-call] # kombu has no types
    qos.append(Message(plain_message(TICKET, "q"), channel), "tag")
    qos.restore_unacked_once()
    assert len(channel.refused) == 1
    assert (dumped, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize(("error", "refused"), [(OutOfMemoryError("full"), 0), (ResponseError("no list"), 1)])
def test_a_ticket_that_does_not_go_back_into_a_full_server_is_not_counted_as_refused(
    error: Exception, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_transport, "PAUSE_S", 0.0)
    reasons: list[str] = []
    channel: Any = SimpleNamespace(connection=SimpleNamespace(refuse=reasons.append), connection_errors=(OSError,))

    def read() -> Any:
        raise error

    assert GuardedChannel._guarded(channel, read) is True
    assert len(reasons) == refused
