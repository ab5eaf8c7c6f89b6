"""Calls to a provider, against scripted servers on the loopback."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from keyfleet_workers.provider.client import ReadOnceEnvironment
from keyfleet_workers.provider.verdict import CallFailure
from support.scripted_server import (
    ANSWER,
    SECRET,
    MakeClient,
    Script,
    ScriptedServer,
    failure_of,
    hang_up,
    reset,
    unused_port,
)


def test_a_call_sends_the_body_as_it_stands_with_the_keys_headers(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    got = make_client(provider.base_url).post("/v1/embeddings", b'{"a": "\xc3\xbc"}', read_timeout_s=10)
    assert (got.status, got.body, got.headers["x-request-id"]) == (200, b"{}", "r1")
    assert got.written_s <= got.finished_s
    head, _, body = provider.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /v1/embeddings http/1.1"
    assert f"authorization: bearer {SECRET}" in lines
    assert {"content-type: application/json", "content-length: 11"} <= set(lines)
    assert body == b'{"a": "\xc3\xbc"}'


def test_connections_are_kept_and_used_again(provider: ScriptedServer, make_client: MakeClient) -> None:
    client = make_client(provider.base_url)
    for _ in range(3):
        client.post("/v1/x", b"{}", read_timeout_s=10)
    assert (provider.connections, len(provider.requests)) == (1, 3)


def test_error_answers_are_answers_and_are_not_retried(provider: ScriptedServer, make_client: MakeClient) -> None:
    provider.answer_with(ANSWER.replace(b"200 OK", b"503 Busy\r\nRetry-After: 1"))
    got = make_client(provider.base_url).post("/v1/x", b"{}", read_timeout_s=10)
    assert (got.status, got.headers["retry-after"], len(provider.requests)) == (503, "1", 1)


def test_redirects_are_not_followed(provider: ScriptedServer, make_client: MakeClient) -> None:
    there = f"307 Moved\r\nLocation: {provider.base_url}/elsewhere".encode()
    provider.answer_with(ANSWER.replace(b"200 OK", there))
    assert make_client(provider.base_url).post("/v1/x", b"{}", read_timeout_s=10).status == 307
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        (b"", reset),
        (b"", hang_up),
        (ANSWER[:10], hang_up),
        (ANSWER[:-1], hang_up),
        (ANSWER[:-1], reset),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", hang_up),
        (b"no http at all\r\n\r\n", hang_up),
    ],
    ids=["reset", "closed", "head cut", "body cut", "reset in body", "chunk cut", "no HTTP"],
)
def test_a_connection_that_is_lost_after_the_request_was_written_is_cut_off_and_not_retried(
    provider: ScriptedServer, make_client: MakeClient, sent: bytes, then: Script
) -> None:
    provider.answer_with(sent, then)
    error = failure_of(make_client(provider.base_url))
    assert error.failure is CallFailure.CUT_OFF
    assert error.written_s is not None
    assert len(provider.requests) == 1


def test_a_connection_that_is_lost_while_the_request_is_written_may_have_been_paid_for(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    provider.reads_bodies = False
    provider.script = reset
    error = failure_of(make_client(provider.base_url), b"x" * 50_000_000)
    assert error.failure is CallFailure.CUT_OFF


def test_silence_before_the_answer_is_a_timeout(provider: ScriptedServer, make_client: MakeClient) -> None:
    provider.script = provider.hang
    error = failure_of(make_client(provider.base_url), read_timeout_s=0.05)
    assert error.failure is CallFailure.TIMED_OUT
    assert error.written_s is not None


@pytest.mark.parametrize("part", [ANSWER[:-1], ANSWER[:20]], ids=["in the body", "in the head"])
def test_silence_within_the_answer_is_a_timeout(provider: ScriptedServer, make_client: MakeClient, part: bytes) -> None:
    provider.answer_with(part, provider.hang)
    error = failure_of(make_client(provider.base_url), read_timeout_s=0.05)
    assert error.failure is CallFailure.TIMED_OUT
    assert error.written_s is not None


def test_a_call_after_a_failed_one_is_not_mistaken_for_it(provider: ScriptedServer, make_client: MakeClient) -> None:
    client = make_client(provider.base_url)
    client.post("/v1/x", b"{}", read_timeout_s=10)
    away = make_client(f"http://127.0.0.1:{unused_port()}")
    assert failure_of(away).failure is CallFailure.UNREACHABLE


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_who_is_not_there_is_unreachable(make_client: MakeClient, host: str) -> None:
    error = failure_of(make_client(f"http://{host}:{unused_port()}"))
    assert (error.failure, error.written_s) == (CallFailure.UNREACHABLE, None)
    assert "the provider can't be reached" in str(error)


def test_a_server_that_speaks_no_tls_is_unreachable(provider: ScriptedServer, make_client: MakeClient) -> None:
    error = failure_of(make_client(provider.base_url.replace("http:", "https:"), connect_timeout_s=0.2))
    assert error.failure is CallFailure.UNREACHABLE


def test_a_missing_ca_bundle_is_unreachable(make_client: MakeClient, tmp_path: Path) -> None:
    environment = ReadOnceEnvironment({}, str(tmp_path / "missing.pem"))
    error = failure_of(make_client("https://127.0.0.1:1", environment=environment))
    assert error.failure is CallFailure.UNREACHABLE


def test_netrc_is_never_read(
    provider: ScriptedServer, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    make_client(provider.base_url).post("/v1/x", b"{}", read_timeout_s=10)
    assert f"Authorization: Bearer {SECRET}".encode() in provider.requests[0]
    assert b"Basic" not in provider.requests[0]


def test_cookies_are_not_kept(provider: ScriptedServer, make_client: MakeClient) -> None:
    provider.answer_with(ANSWER.replace(b"200 OK", b"200 OK\r\nSet-Cookie: a=b"))
    client = make_client(provider.base_url)
    for _ in range(2):
        client.post("/v1/x", b"{}", read_timeout_s=10)
    assert b"Cookie" not in provider.requests[1]


def test_sockets_keep_tcp_alive_and_send_at_once(
    provider: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[int] = []
    connect = socket.socket.connect

    def note_options(self: socket.socket, address: Any) -> None:
        if address == ("127.0.0.1", provider.port):
            options.append(self.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(self.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", note_options)
    make_client(provider.base_url).post("/v1/x", b"{}", read_timeout_s=10)
    make_client("http://p.invalid", f"http://127.0.0.1:{provider.port}").post("/v1/x", b"{}", read_timeout_s=10)
    assert len(options) == 4
    assert all(options)


@pytest.mark.parametrize(
    ("environ", "verify"),
    [
        ({}, True),
        ({"SSL_CERT_FILE": "c"}, "c"),
        ({"CURL_CA_BUNDLE": "b", "SSL_CERT_FILE": "c"}, "b"),
        ({"REQUESTS_CA_BUNDLE": "a", "CURL_CA_BUNDLE": "b", "SSL_CERT_FILE": "c"}, "a"),
        ({"REQUESTS_CA_BUNDLE": ""}, True),
    ],
)
def test_the_ca_bundle_comes_from_the_environment(environ: dict[str, str], verify: bool | str) -> None:
    assert ReadOnceEnvironment.for_url("https://x.invalid", environ).verify == verify


@pytest.mark.parametrize(
    ("base_url", "endpoint", "url"),
    [
        ("https://api.openai.com", "/v1/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://api.openai.com/v1", "/v1/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://api.openai.com/v1/", "/v1/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://api.openai.com/v1", "v1/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://api.openai.com/v1", "/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://host/openai/v1", "/v1/chat/completions", "https://host/openai/v1/chat/completions"),
        ("https://host/openai/v1", "/openai/v1/chat/completions", "https://host/openai/v1/chat/completions"),
        ("https://host/api", "/v1/chat/completions", "https://host/api/chat/completions"),
        ("http://127.0.0.1:8000", "/v1/models", "http://127.0.0.1:8000/v1/models"),
    ],
)
def test_an_endpoint_is_found_below_the_base_url(
    make_client: MakeClient, base_url: str, endpoint: str, url: str
) -> None:
    assert make_client(base_url).url_of(endpoint) == url
