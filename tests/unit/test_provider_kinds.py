"""How the kinds of providers are called: their addresses, headers and names of models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet_workers.provider import CallFailed
from keyfleet_workers.provider.model_names import model_in, with_model
from keyfleet_workers.provider.verdict import CallFailure
from support.scripted_server import SECRET, MakeClient, ScriptedServer

BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\xc3\xbc"}]}'


def sent(provider: ScriptedServer) -> tuple[str, dict[str, str], bytes]:
    """The last request: its first line, its headers by lower-case names, its body."""
    head, _, body = provider.requests[-1].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return first.removesuffix(" HTTP/1.1"), headers, body


def azure(provider: ScriptedServer, make_client: MakeClient, path: str = "") -> Any:
    base_url = f"http://127.0.0.1:{provider.port}{path}"
    return make_client(base_url, provider="azure", api_version="2024-10-21")


def test_azures_address_names_the_bodys_model(provider: ScriptedServer, make_client: MakeClient) -> None:
    azure(provider, make_client).post("/v1/chat/completions", BODY, read_timeout_s=10)
    first, _, body = sent(provider)
    assert first == "POST /openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    assert body == BODY


def test_the_providers_own_name_of_a_model_stands_in_address_and_body(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    azure(provider, make_client).post("/v1/chat/completions", BODY, read_timeout_s=10, model="gpt4o-prod")
    first, headers, body = sent(provider)
    assert first == "POST /openai/deployments/gpt4o-prod/chat/completions?api-version=2024-10-21"
    assert json.loads(body) == json.loads(BODY) | {"model": "gpt4o-prod"}
    assert headers["content-length"] == str(len(body))


def test_elsewhere_the_providers_own_name_takes_the_place_of_the_bodys(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    client = make_client(provider.base_url, provider="compatible")
    client.post("/v1/chat/completions", BODY, read_timeout_s=10, model="openai/gpt-4o")
    first, headers, body = sent(provider)
    assert (first, json.loads(body)["model"]) == ("POST /v1/chat/completions", "openai/gpt-4o")
    assert headers["authorization"] == f"Bearer {SECRET}"


def test_azures_newer_interface_has_the_model_in_the_body_alone(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    azure(provider, make_client, "/openai/v1").post("/v1/chat/completions", BODY, read_timeout_s=10, model="prod")
    first, _, body = sent(provider)
    assert (first, json.loads(body)["model"]) == ("POST /openai/v1/chat/completions", "prod")


def test_models_are_asked_for_without_a_body(provider: ScriptedServer, make_client: MakeClient) -> None:
    assert make_client(provider.base_url).get("/v1/models", read_timeout_s=10).status == 200
    first, headers, body = sent(provider)
    assert (first, body) == ("GET /v1/models", b"")
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert not {"content-length", "content-type"} & set(headers)
    azure(provider, make_client).get("/v1/models", read_timeout_s=10)
    assert sent(provider)[0] == "GET /openai/models?api-version=2024-10-21"


def test_anthropics_endpoint_for_openais_clients_takes_the_key_as_openai_does(
    provider: ScriptedServer, make_client: MakeClient
) -> None:
    make_client(provider.base_url, provider="anthropic").post("/v1/chat/completions", BODY, read_timeout_s=10)
    _, headers, _ = sent(provider)
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert not {"x-api-key", "anthropic-version"} & set(headers)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/models"])
def test_anthropics_own_interface_gets_key_and_version_in_its_own_headers(
    provider: ScriptedServer, make_client: MakeClient, path: str
) -> None:
    client = make_client(provider.base_url, provider="anthropic")
    if path == "/v1/models":
        client.get(path, read_timeout_s=10)
    else:
        client.post(path, BODY, read_timeout_s=10)
    _, headers, _ = sent(provider)
    assert (headers["x-api-key"], headers["anthropic-version"]) == (SECRET, "2023-06-01")
    assert "authorization" not in headers


@pytest.mark.parametrize("endpoint", ["//127.0.0.1:1/v1/x", "http://127.0.0.1:1/v1/x", "/v1/../x", "@127.0.0.1:1"])
def test_a_request_that_names_another_host_is_never_sent(
    provider: ScriptedServer, make_client: MakeClient, endpoint: str
) -> None:
    client = make_client(f"http://127.0.0.1:{provider.port}")
    with pytest.raises(CallFailed) as found:
        client.post(endpoint, BODY, read_timeout_s=10)
    assert (found.value.failure, found.value.written_s) == (CallFailure.INVALID_ENDPOINT, None)
    assert str(found.value) == "url: expected a plain path such as /v1/chat/completions"
    assert provider.connections == 0


def test_a_body_without_a_model_has_no_address_at_azure(provider: ScriptedServer, make_client: MakeClient) -> None:
    for body in (b"{}", b'{"model": 7}', b"[]", b"no JSON"):
        with pytest.raises(CallFailed, match="model: expected the name of a deployment"):
            azure(provider, make_client).post("/v1/chat/completions", body, read_timeout_s=10)
    assert provider.connections == 0


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ('{"model":"a"}', '{"model": "n"}'),
        ('{ "x" : 1e400 , "model"\n: "a", "y": [0.10]}', '{"x" : 1e400, "model": "n", "y": [0.10]}'),
        ('{"y": {"model": "a"}, "model": "a"}', '{"y": {"model": "a"}, "model": "n"}'),
        ('{"y": "\\"model\\": \\"a\\"", "model": "a"}', '{"y": "\\"model\\": \\"a\\"", "model": "n"}'),
        ('{"mod\\u0065l": "a"}', '{"model": "n"}'),
        ('{"model": "a", "model": "b"}', '{"model": "n"}'),
        ('{"model": null}', '{"model": "n"}'),
        ('{"prompt": "model"}', '{"prompt": "model"}'),
        ('[{"model": "a"}]', '[{"model": "a"}]'),
        ("no JSON", "no JSON"),
        ("", ""),
    ],
)
def test_only_the_top_level_model_is_changed_and_all_else_stays_as_it_was_written(body: str, changed: str) -> None:
    assert with_model(body.encode(), "n").decode() == changed


def test_a_name_is_written_as_json_has_it() -> None:
    assert json.loads(with_model(b'{"model": "a"}', 'x"\\\u00fc\n')) == {"model": 'x"\\\u00fc\n'}


def test_the_model_is_read_from_the_top_level_alone() -> None:
    assert model_in(b'{"x": {"model": "b"}, "model": "a"}') == "a"
    assert model_in(b'{"x": {"model": "b"}}') is None
    assert model_in(b'{"model": "a", "model": "b"}') == "b"
