"""Calls to a provider through proxies, and what their failures say."""

from __future__ import annotations

import base64
import socket
import traceback

import pytest

from keyfleet_workers.provider.client import ReadOnceEnvironment
from keyfleet_workers.provider.verdict import CallFailure
from support.scripted_server import ANSWER, SECRET, MakeClient, ScriptedServer, failure_of, hang_up, reset, unused_port

PROXY_PASSWORD = "p4ssw0rd"


def all_texts(error: BaseException | None) -> str:
    """Everything that an error and the errors behind it say, also to those who look behind `from None`."""
    texts = []
    while error is not None:
        texts += [repr(error), str(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_a_proxy_gets_the_call_and_its_own_password(provider: ScriptedServer, make_client: MakeClient) -> None:
    client = make_client("http://provider.invalid/v1", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{provider.port}")
    assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
    expected = base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()
    assert provider.requests[0].startswith(b"POST http://provider.invalid/v1/x HTTP/1.1")
    assert f"proxy-authorization: basic {expected}".lower() in provider.requests[0].decode().lower()


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("target", ["http", "https"])
def test_a_proxy_that_is_not_there_is_unreachable_and_its_password_is_in_no_error(
    make_client: MakeClient, scheme: str, target: str
) -> None:
    proxy_url = f"{scheme}://user:{PROXY_PASSWORD}@127.0.0.1:{unused_port()}"
    error = failure_of(make_client(f"{target}://127.0.0.1:1/v1", proxy_url))
    assert (error.failure, error.written_s) == (CallFailure.UNREACHABLE, None)
    assert PROXY_PASSWORD not in all_texts(error)
    assert SECRET not in all_texts(error)


def test_a_proxy_that_refuses_the_tunnel_is_unreachable(provider: ScriptedServer, make_client: MakeClient) -> None:
    refusal = b"407 Proxy Authentication Required"
    provider.answer_with(ANSWER.replace(b"200 OK", refusal), hang_up)
    error = failure_of(make_client("https://provider.invalid", f"http://u:{PROXY_PASSWORD}@127.0.0.1:{provider.port}"))
    assert error.failure is CallFailure.UNREACHABLE
    assert str(error) == "the provider can't be reached through its proxy (the proxy answered 407)"
    assert PROXY_PASSWORD not in all_texts(error)


def test_no_failure_shows_the_key_or_the_password(provider: ScriptedServer, make_client: MakeClient) -> None:
    provider.script = reset
    error = failure_of(
        make_client("http://provider.invalid/v1", f"http://u:{PROXY_PASSWORD}@127.0.0.1:{provider.port}")
    )
    assert error.failure is CallFailure.CUT_OFF
    assert PROXY_PASSWORD not in all_texts(error)
    assert SECRET not in all_texts(error)


def greet_as_socks(connection: socket.socket) -> None:
    """RFC 1928 without authentication, up to the answer to CONNECT."""
    connection.recv(2)
    connection.recv(16)
    connection.sendall(b"\x05\x00")
    connection.recv(262)
    connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")


def test_a_connection_that_is_lost_behind_a_socks_proxy_is_cut_off(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    provider.greeting = greet_as_socks
    client = make_client("http://provider.invalid/v1", f"socks5h://127.0.0.1:{provider.port}")
    assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
    provider.script = reset
    error = failure_of(client)
    assert error.failure is CallFailure.CUT_OFF
    assert error.written_s is not None


def test_the_proxy_of_the_environment_is_used_and_that_of_the_key_wins(
    provider: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{provider.port}")
    url = "http://provider.invalid/v1"
    environment = ReadOnceEnvironment.for_url(url, {})
    monkeypatch.delenv("HTTP_PROXY")
    assert make_client(url, environment=environment).post("/v1/x", b"{}", read_timeout_s=10).status == 200
    dead = f"http://127.0.0.1:{unused_port()}"
    assert failure_of(make_client(url, dead, environment=environment)).failure is CallFailure.UNREACHABLE


def test_hosts_without_a_proxy_are_called_directly(
    provider: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    environment = ReadOnceEnvironment.for_url(provider.base_url, {})
    client = make_client(provider.base_url, environment=environment)
    assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
