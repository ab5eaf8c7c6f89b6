"""Calls through real proxies: they go through the key's own, or they fail and say so."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyfleet_workers.provider import VerdictKind, classify, classify_failure
from keyfleet_workers.provider.client import ReadOnceEnvironment
from keyfleet_workers.provider.verdict import CallFailure
from support.scripted_server import ANSWER, SECRET, MakeClient, ScriptedServer, failure_of, unused_port
from support.small_proxy import PASSWORD, SmallProxy
from support.tls_front import Certificates

NAME = "provider.invalid"

SCHEMES = ["http", "socks5h"]


class TlsServer(ScriptedServer):
    """A scripted provider that speaks TLS."""

    certificates: Certificates

    def _serve(self, connection: socket.socket) -> None:
        try:
            wrapped = self.certificates.server_context().wrap_socket(connection, server_side=True)
        except OSError:  # the client didn't like the certificate
            connection.close()
            return
        super()._serve(wrapped)


@pytest.fixture
def proxy(provider: ScriptedServer) -> Iterator[SmallProxy]:
    with SmallProxy({NAME: provider.port}) as proxy:
        yield proxy


@pytest.fixture
def tls_provider(tmp_path: Path) -> Iterator[TlsServer]:
    server = TlsServer()
    server.certificates = Certificates(tmp_path)
    yield server
    server.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_call_goes_through_the_proxy_which_finds_the_provider_by_its_name(
    provider: ScriptedServer, proxy: SmallProxy, make_client: MakeClient, scheme: str
) -> None:
    client = make_client(f"http://{NAME}/v1", proxy.url(scheme))
    for _ in range(2):
        assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
    assert client.get("/v1/models", read_timeout_s=10).status == 200
    assert len(provider.requests) == 3
    assert set(proxy.asked) <= {NAME, f"http://{NAME}/v1/x", f"http://{NAME}/v1/models"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_through_a_tunnel_the_proxy_sees_neither_key_nor_body(
    tls_provider: TlsServer, make_client: MakeClient, scheme: str
) -> None:
    environment = ReadOnceEnvironment({}, str(tls_provider.certificates.ca_path))
    with SmallProxy({"127.0.0.1": tls_provider.port}) as proxy:
        client = make_client("https://127.0.0.1/v1", proxy.url(scheme), environment=environment)
        assert client.post("/v1/x", b'{"a": 1}', read_timeout_s=10).status == 200
        assert proxy.asked == [{"http": "127.0.0.1:443", "socks5h": "127.0.0.1"}[scheme]]
    assert PASSWORD.encode() not in tls_provider.requests[0]
    assert b"proxy-authorization" not in tls_provider.requests[0].lower()
    assert tls_provider.requests[0].endswith(b'{"a": 1}')


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_proxy_that_is_passed_over_in_the_environment_is_used_all_the_same(
    provider: ScriptedServer,
    proxy: SmallProxy,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", f"127.0.0.1,localhost,{NAME}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    url = f"http://{NAME}/v1"
    client = make_client(url, proxy.url(scheme), environment=ReadOnceEnvironment.for_url(url, {}))
    assert client.post("/v1/x", b"{}", read_timeout_s=10).status == 200
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
@pytest.mark.parametrize("target", ["http", "https"])
def test_with_the_proxy_down_nothing_goes_directly(
    provider: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, scheme: str, target: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    proxy_url = f"{scheme}://u:{PASSWORD}@127.0.0.1:{unused_port()}"
    error = failure_of(make_client(f"{target}://127.0.0.1:{provider.port}/v1", proxy_url))
    assert (error.failure, error.written_s) == (CallFailure.UNREACHABLE, None)
    assert str(error).startswith("the provider can't be reached through its proxy (")
    assert PASSWORD not in str(error)
    assert provider.connections == 0


def test_a_redirect_takes_no_key_anywhere(provider: ScriptedServer, proxy: SmallProxy, make_client: MakeClient) -> None:
    elsewhere = ScriptedServer()
    moved = f"307 Moved\r\nLocation: {elsewhere.base_url}/x?token=t".encode()
    provider.answer_with(ANSWER.replace(b"200 OK", moved))
    for client in (make_client(f"http://{NAME}/v1", proxy.url("http")), make_client(provider.base_url)):
        answer = client.post("/v1/x", b"{}", read_timeout_s=10)
        verdict = classify("openai", answer.status, answer.headers, answer.body)
        assert (verdict.kind, verdict.code) == (VerdictKind.UNREACHABLE, "redirected")
        assert "redirected to 127.0.0.1; redirects are never followed" in verdict.message
    assert elsewhere.connections == 0
    elsewhere.close()


@pytest.mark.parametrize(
    "refusal", [b"407 Proxy Authentication Required", b"403 Forbidden", b"502 Bad Gateway", b"503 No", b"504 Late"]
)
def test_a_proxy_that_refuses_the_tunnel_is_unreachable_and_named_with_its_status(
    proxy: SmallProxy, make_client: MakeClient, refusal: bytes
) -> None:
    proxy.refusal = refusal
    error = failure_of(make_client(f"https://{NAME}/v1", proxy.url("http")))
    assert error.failure is CallFailure.UNREACHABLE
    expected = f"the provider can't be reached through its proxy (the proxy answered {refusal[:3].decode()})"
    assert classify_failure(error.failure, str(error)).message == expected


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (b"407 Proxy Authentication Required", VerdictKind.UNREACHABLE),
        (b"403 Forbidden", VerdictKind.UNREACHABLE),
        (b"200 OK", VerdictKind.UNREACHABLE),
        (b"302 Found\r\nlocation: http://portal.invalid/login", VerdictKind.UNREACHABLE),
        (b"503 Service Unavailable\r\nx-squid-error: ERR_DNS_FAIL 0", VerdictKind.UNREACHABLE),
        (b"502 Bad Gateway", VerdictKind.RETRYABLE),  # may be the provider's, so it can't go on for ever
    ],
)
def test_a_page_of_the_proxys_own_revokes_no_key(
    provider: ScriptedServer, proxy: SmallProxy, make_client: MakeClient, refusal: bytes, kind: VerdictKind
) -> None:
    proxy.refusal = refusal
    answer = make_client(f"http://{NAME}/v1", proxy.url("http")).post("/v1/x", b"{}", read_timeout_s=10)
    verdict = classify("openai", answer.status, answer.headers, answer.body, via_proxy=True)
    assert verdict.kind is kind
    assert kind is VerdictKind.RETRYABLE or "not reachable through its proxy" in verdict.message
    assert provider.requests == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("target", ["http", "https"])
def test_a_wrong_password_is_no_fault_of_the_key_and_is_shown_to_nobody(
    proxy: SmallProxy, make_client: MakeClient, caplog: pytest.LogCaptureFixture, scheme: str, target: str
) -> None:
    wrong = "wr0ng-p4ss"
    proxy_url = proxy.url(scheme).replace(PASSWORD, wrong)
    client = make_client(f"{target}://{NAME}/v1", proxy_url)
    with caplog.at_level(logging.DEBUG):
        if (scheme, target) == ("http", "http"):
            answer = client.post("/v1/x", b"{}", read_timeout_s=10)
            verdict = classify("openai", answer.status, answer.headers, answer.body, via_proxy=True)
        else:
            error = failure_of(client)
            verdict = classify_failure(error.failure, str(error))
    assert verdict.kind is VerdictKind.UNREACHABLE
    assert "through its proxy" in verdict.message
    assert wrong not in repr(verdict) + caplog.text
    assert SECRET not in repr(verdict) + caplog.text


def test_a_name_that_the_proxy_can_not_resolve_is_unreachable_through_it(
    proxy: SmallProxy, make_client: MakeClient
) -> None:
    error = failure_of(make_client("http://nobody.invalid/v1", proxy.url("socks5h")))
    assert error.failure is CallFailure.UNREACHABLE
    assert "through its proxy" in str(error)
    assert proxy.asked == ["nobody.invalid"]


def test_a_proxy_that_breaks_tls_open_is_unreachable(tls_provider: TlsServer, make_client: MakeClient) -> None:
    with SmallProxy({"127.0.0.1": tls_provider.port}) as proxy:
        error = failure_of(make_client("https://127.0.0.1/v1", proxy.url("http")))
    assert (error.failure, error.written_s) == (CallFailure.UNREACHABLE, None)
    assert str(error).startswith("the provider can't be reached through its proxy (")
    assert tls_provider.requests == []


def test_no_client_shows_its_secrets(make_client: MakeClient, proxy: SmallProxy) -> None:
    client: Any = make_client(f"http://{NAME}/v1", proxy.url("http"))
    assert SECRET not in repr(client)
    assert PASSWORD not in repr(client)
