"""Which pooled connections are used again."""

from __future__ import annotations

import socket
import threading

import pytest

from keyfleet_workers.provider import connections
from support.scripted_server import ANSWER, MakeClient, ScriptedServer, hang_up


@pytest.mark.parametrize(
    ("idle_s", "opened"), [(connections.REUSE_WITHIN_S - 1, 1), (connections.REUSE_WITHIN_S + 1, 2)]
)
def test_a_connection_that_was_idle_for_long_is_not_used_again(
    provider: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, idle_s: float, opened: int
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(connections, "elapsed_s", lambda: now_s)
    client = make_client(provider.base_url)
    client.post("/v1/x", b"{}", read_timeout_s=10)
    now_s += idle_s
    client.post("/v1/x", b"{}", read_timeout_s=10)
    assert (provider.connections, len(provider.requests)) == (opened, 2)


def test_a_connection_that_the_provider_has_closed_is_replaced(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    client = make_client(provider.base_url)
    is_closed = threading.Event()

    def close(connection: socket.socket) -> None:
        hang_up(connection)
        is_closed.set()

    provider.answer_with(ANSWER, then=close)
    for _ in range(3):
        assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
        assert is_closed.wait(10)
        is_closed.clear()
    assert (provider.connections, len(provider.requests)) == (3, 3)
