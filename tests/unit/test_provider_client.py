"""Calls to a provider, against scripted servers on the loopback."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyfleet_workers.provider import CallFailed, ProviderClient
from keyfleet_workers.provider.client import ReadOnceEnvironment
from keyfleet_workers.provider.verdict import CallFailure

SECRET, PROXY_PASSWORD = "sk-top-secret", "p4ssw0rd"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: r1\r\nContent-Length: 2\r\n\r\n{}"
NO_ENVIRONMENT = ReadOnceEnvironment({}, True)

Script = Callable[[socket.socket], None]


def answer(connection: socket.socket) -> None:
    connection.sendall(ANSWER)


def reset(connection: socket.socket) -> None:
    """Close so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class ScriptedServer:
    """Reads one request after another from every connection and leaves the answer to a script."""

    def __init__(self) -> None:
        self.script: Script = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.released = threading.Event()  # lets scripts that hang end
        self.reads_bodies = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def hang(self, connection: socket.socket) -> None:
        self.released.wait(30)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while request := self._read(connection):
                self.requests.append(request)
                self.script(connection)

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-length")]
        while self.reads_bodies and lengths and len(body) < int(lengths[0]):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self.released.set()
        self._listener.close()


class Key:
    """The credentials of a made-up key."""

    def __init__(self, base_url: str, proxy_url: str | None = None) -> None:
        self.base_url = base_url
        self._proxy_url = proxy_url

    @property
    def proxy_url(self) -> str | None:
        return self._proxy_url

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


MakeClient = Callable[..., ProviderClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    clients: list[ProviderClient] = []

    def make(base_url: str, proxy_url: str | None = None, **options: Any) -> ProviderClient:
        settings = {"connect_timeout_s": 5.0, "environment": NO_ENVIRONMENT, **options}
        clients.append(ProviderClient(Key(base_url, proxy_url), **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def failure_of(client: ProviderClient, body: bytes = b"{}", read_timeout_s: float = 10.0) -> CallFailed:
    with pytest.raises(CallFailed) as found:
        client.post("/v1/x", body, read_timeout_s=read_timeout_s)
    return found.value


def all_texts(error: BaseException | None) -> str:
    """Everything that an error and the errors behind it say, also to those who look behind `from None`."""
    texts = []
    while error is not None:
        texts += [repr(error), str(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_a_call_sends_the_body_as_it_stands_with_the_keys_headers(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    got = make_client(server.base_url).post("/v1/embeddings", b'{"a": "\xc3\xbc"}', read_timeout_s=10)
    assert (got.status, got.body, got.headers["x-request-id"]) == (200, b"{}", "r1")
    assert got.written_s <= got.finished_s
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /v1/embeddings http/1.1"
    assert f"authorization: bearer {SECRET}" in lines
    assert {"content-type: application/json", "content-length: 11"} <= set(lines)
    assert body == b'{"a": "\xc3\xbc"}'


def test_connections_are_kept_and_used_again(server: ScriptedServer, make_client: MakeClient) -> None:
    client = make_client(server.base_url)
    for _ in range(3):
        client.post("/v1/x", b"{}", read_timeout_s=10)
    assert (server.connections, len(server.requests)) == (1, 3)


def test_error_answers_are_answers_and_are_not_retried(server: ScriptedServer, make_client: MakeClient) -> None:
    server.script = lambda connection: connection.sendall(ANSWER.replace(b"200 OK", b"503 Busy\r\nRetry-After: 1"))
    got = make_client(server.base_url).post("/v1/x", b"{}", read_timeout_s=10)
    assert (got.status, got.headers["retry-after"], len(server.requests)) == (503, "1", 1)


def test_redirects_are_not_followed(server: ScriptedServer, make_client: MakeClient) -> None:
    there = f"307 Moved\r\nLocation: {server.base_url}/elsewhere".encode()
    server.script = lambda connection: connection.sendall(ANSWER.replace(b"200 OK", there))
    assert make_client(server.base_url).post("/v1/x", b"{}", read_timeout_s=10).status == 307
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [
        reset,
        lambda connection: connection.shutdown(socket.SHUT_RDWR),
        lambda connection: (connection.sendall(ANSWER[:10]), connection.shutdown(socket.SHUT_RDWR)),
        lambda connection: (connection.sendall(ANSWER[:-1]), connection.shutdown(socket.SHUT_RDWR)),
        lambda connection: (connection.sendall(ANSWER[:-1]), reset(connection)),
        lambda connection: (
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"),
            connection.shutdown(socket.SHUT_RDWR),
        ),
        lambda connection: (connection.sendall(b"no http at all\r\n\r\n"), connection.shutdown(socket.SHUT_RDWR)),
    ],
    ids=["reset", "closed", "head cut", "body cut", "reset in body", "chunk cut", "no HTTP"],
)
def test_a_connection_that_is_lost_after_the_request_was_written_is_cut_off_and_not_retried(
    server: ScriptedServer, make_client: MakeClient, script: Script
) -> None:
    server.script = script
    error = failure_of(make_client(server.base_url))
    assert error.failure is CallFailure.CUT_OFF
    assert error.written_s is not None
    assert len(server.requests) == 1


def test_a_connection_that_is_lost_while_the_request_is_written_may_have_been_paid_for(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    server.reads_bodies = False
    server.script = reset
    error = failure_of(make_client(server.base_url), b"x" * 50_000_000)
    assert error.failure is CallFailure.CUT_OFF


def test_silence_before_the_answer_is_a_timeout(server: ScriptedServer, make_client: MakeClient) -> None:
    server.script = server.hang
    error = failure_of(make_client(server.base_url), read_timeout_s=0.05)
    assert error.failure is CallFailure.TIMED_OUT
    assert error.written_s is not None


@pytest.mark.parametrize("part", [ANSWER[:-1], ANSWER[:20]], ids=["in the body", "in the head"])
def test_silence_within_the_answer_is_a_timeout(server: ScriptedServer, make_client: MakeClient, part: bytes) -> None:
    def stop_in_the_middle(connection: socket.socket) -> None:
        connection.sendall(part)
        server.hang(connection)

    server.script = stop_in_the_middle
    error = failure_of(make_client(server.base_url), read_timeout_s=0.05)
    assert error.failure is CallFailure.TIMED_OUT
    assert error.written_s is not None


def test_a_call_after_a_failed_one_is_not_mistaken_for_it(server: ScriptedServer, make_client: MakeClient) -> None:
    client = make_client(server.base_url)
    client.post("/v1/x", b"{}", read_timeout_s=10)
    away = make_client(f"http://127.0.0.1:{unused_port()}")
    assert failure_of(away).failure is CallFailure.UNREACHABLE


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_who_is_not_there_is_unreachable(make_client: MakeClient, host: str) -> None:
    error = failure_of(make_client(f"http://{host}:{unused_port()}"))
    assert (error.failure, error.written_s) == (CallFailure.UNREACHABLE, None)
    assert "the provider can't be reached" in str(error)


def test_a_server_that_speaks_no_tls_is_unreachable(server: ScriptedServer, make_client: MakeClient) -> None:
    error = failure_of(make_client(server.base_url.replace("http:", "https:"), connect_timeout_s=0.2))
    assert error.failure is CallFailure.UNREACHABLE


def test_a_missing_ca_bundle_is_unreachable(make_client: MakeClient, tmp_path: Path) -> None:
    environment = ReadOnceEnvironment({}, str(tmp_path / "missing.pem"))
    error = failure_of(make_client("https://127.0.0.1:1", environment=environment))
    assert error.failure is CallFailure.UNREACHABLE


def test_a_proxy_gets_the_call_and_its_own_password(server: ScriptedServer, make_client: MakeClient) -> None:
    client = make_client("http://provider.invalid/v1", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{server.port}")
    assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
    expected = base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()
    assert server.requests[0].startswith(b"POST http://provider.invalid/v1/x HTTP/1.1")
    assert f"proxy-authorization: basic {expected}".lower() in server.requests[0].decode().lower()


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


def test_a_proxy_that_refuses_the_tunnel_is_unreachable(server: ScriptedServer, make_client: MakeClient) -> None:
    refusal = b"407 Proxy Authentication Required"
    server.script = lambda connection: (connection.sendall(ANSWER.replace(b"200 OK", refusal)), connection.close())[1]
    error = failure_of(make_client("https://provider.invalid", f"http://u:{PROXY_PASSWORD}@127.0.0.1:{server.port}"))
    assert error.failure is CallFailure.UNREACHABLE
    assert "the proxy can't be reached" in str(error)
    assert PROXY_PASSWORD not in all_texts(error)


def test_no_failure_shows_the_key_or_the_password(server: ScriptedServer, make_client: MakeClient) -> None:
    server.script = reset
    error = failure_of(make_client("http://provider.invalid/v1", f"http://u:{PROXY_PASSWORD}@127.0.0.1:{server.port}"))
    assert error.failure is CallFailure.CUT_OFF
    assert PROXY_PASSWORD not in all_texts(error)
    assert SECRET not in all_texts(error)


def socks_server(connection: socket.socket) -> None:
    """RFC 1928 without authentication, up to the answer to CONNECT."""
    connection.recv(2)
    connection.recv(16)
    connection.sendall(b"\x05\x00")
    connection.recv(262)
    connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")


def test_a_connection_that_is_lost_behind_a_socks_proxy_is_cut_off(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    serve = server._serve

    def through_socks(connection: socket.socket) -> None:
        socks_server(connection)
        serve(connection)

    server._serve = through_socks  # type: ignore[method-assign]
    client = make_client("http://provider.invalid/v1", f"socks5h://127.0.0.1:{server.port}")
    assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
    server.script = reset
    error = failure_of(client)
    assert error.failure is CallFailure.CUT_OFF
    assert error.written_s is not None


def test_netrc_is_never_read(
    server: ScriptedServer, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    make_client(server.base_url).post("/v1/x", b"{}", read_timeout_s=10)
    assert f"Authorization: Bearer {SECRET}".encode() in server.requests[0]
    assert b"Basic" not in server.requests[0]


def test_cookies_are_not_kept(server: ScriptedServer, make_client: MakeClient) -> None:
    server.script = lambda connection: connection.sendall(ANSWER.replace(b"200 OK", b"200 OK\r\nSet-Cookie: a=b"))
    client = make_client(server.base_url)
    for _ in range(2):
        client.post("/v1/x", b"{}", read_timeout_s=10)
    assert b"Cookie" not in server.requests[1]


def test_sockets_keep_tcp_alive_and_send_at_once(
    server: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[int] = []
    connect = socket.socket.connect

    def note_options(self: socket.socket, address: Any) -> None:
        if address == ("127.0.0.1", server.port):
            options.append(self.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(self.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", note_options)
    make_client(server.base_url).post("/v1/x", b"{}", read_timeout_s=10)
    make_client("http://p.invalid", f"http://127.0.0.1:{server.port}").post("/v1/x", b"{}", read_timeout_s=10)
    assert len(options) == 4
    assert all(options)


def test_the_proxy_of_the_environment_is_used_and_that_of_the_key_wins(
    server: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    url = "http://provider.invalid/v1"
    environment = ReadOnceEnvironment.for_url(url, {})
    monkeypatch.delenv("HTTP_PROXY")
    assert make_client(url, environment=environment).post("/v1/x", b"{}", read_timeout_s=10).status == 200
    dead = f"http://127.0.0.1:{unused_port()}"
    assert failure_of(make_client(url, dead, environment=environment)).failure is CallFailure.UNREACHABLE


def test_hosts_without_a_proxy_are_called_directly(
    server: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    environment = ReadOnceEnvironment.for_url(server.base_url, {})
    client = make_client(server.base_url, environment=environment)
    assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200


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
