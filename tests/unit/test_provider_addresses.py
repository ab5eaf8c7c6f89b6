"""Where calls go: below the key's base URL, and nowhere else whatever a request says."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet_workers.provider.addresses import AzureAddresses, InvalidEndpoint, PlainAddresses, addresses_for

CHAT = "/v1/chat/completions"

DATED = "2024-10-21"


@pytest.mark.parametrize(
    ("base_url", "endpoint", "url"),
    [
        ("https://api.openai.com", "/v1/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://api.openai.com/v1", "/v1/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://api.openai.com/v1/", "v1/embeddings", "https://api.openai.com/v1/embeddings"),
        ("https://openrouter.ai/api/v1", CHAT, "https://openrouter.ai/api/v1/chat/completions"),
        ("https://host/v1beta/openai/", CHAT, "https://host/v1beta/openai/chat/completions"),
        ("https://host", "/v1beta/models/gemini-2.5-pro:generateContent", None),
        ("https://host", "/v1/responses/resp_1~a-b.c/", None),
        ("https://host", "/openai/deployments/d/chat/completions?api-version=2024-10-21", None),
    ],
)
def test_an_endpoint_is_found_below_the_base_url(base_url: str, endpoint: str, url: str | None) -> None:
    assert PlainAddresses(base_url).url_of(endpoint) == (url or base_url + endpoint)


HOSTILE = [
    "",
    "/",
    "//evil.example/v1/x",
    "///evil.example",
    "http://evil.example/v1/x",
    "https:evil.example",
    "https:/evil.example",
    "/@evil.example/v1/x",
    "@evil.example",
    ":80@evil.example/v1",
    ".evil.example/v1/x",
    "/v1/../../admin",
    "/..",
    "/.",
    "/v1/./x",
    "/v1//x",
    "/v1/.hidden",
    "/v1\\x",
    "\\\\evil.example",
    "/v1/%2e%2e/x",
    "/v1/x%0d%0aHost:evil",
    "/v1/x\r\nHost: evil",
    "/v1/x\n",
    "/v1/x\x00",
    "/v1/x y",
    "/v1/x\t",
    "/v1/x#frag",
    "/v1/x?query=1",
    "/v1/x?api-version=1&x=2",
    "/v1/x?api-version=a@b",
    "/v1/x?api-version=",
    "/v1/x;y",
    "/v1/\u2024\u2024/x",
    "/v1/\uff0fevil",
    "/v1/ü",
]


@pytest.mark.parametrize("endpoint", HOSTILE)
@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_what_is_no_plain_path_is_refused(provider: str, endpoint: str) -> None:
    addresses = (
        AzureAddresses("https://host", DATED) if provider == "azure" else PlainAddresses("https://host.example/v1")
    )
    with pytest.raises(InvalidEndpoint) as found:
        addresses.url_of(endpoint, "m")
    assert "expected a plain path such as /v1/chat/completions" in str(found.value)
    assert "evil" not in str(found.value)


@given(
    endpoint=st.text(alphabet="/\\.@:?#%&=;v1xapi-version~[]\r\n \u2024\uff0f\x00", max_size=30),
    model=st.text(alphabet="/\\.@:?#%m \n", max_size=10),
    base_url=st.sampled_from(["https://host.example", "https://host.example/v1", "https://host.example/openai"]),
)
def test_no_request_can_leave_the_host_of_its_key(endpoint: str, model: str, base_url: str) -> None:
    for addresses in (PlainAddresses(base_url), AzureAddresses(base_url, DATED), AzureAddresses(base_url, None)):
        try:
            url = addresses.url_of(endpoint, model)
        except InvalidEndpoint:
            continue
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "host.example", "")
        assert not {".", "..", ""} & set(parts.path.strip("/").split("/"))
        assert url.isascii()
        assert url.isprintable()
        assert "\\" not in url


DEPLOYED = f"/openai/deployments/gpt4o-prod/chat/completions?api-version={DATED}"


# https://learn.microsoft.com/azure/ai-foundry/openai/reference, https://learn.microsoft.com/azure/ai-foundry/openai/
# api-version-lifecycle
@pytest.mark.parametrize(
    ("base_url", "version", "url"),
    [
        ("https://r.openai.azure.com", DATED, f"https://r.openai.azure.com{DEPLOYED}"),
        ("https://r.openai.azure.com/", DATED, f"https://r.openai.azure.com{DEPLOYED}"),
        ("https://r.openai.azure.com/openai", DATED, f"https://r.openai.azure.com{DEPLOYED}"),
        ("https://r.openai.azure.com/openai/", DATED, f"https://r.openai.azure.com{DEPLOYED}"),
        ("https://r.openai.azure.com/openai/deployments", DATED, f"https://r.openai.azure.com{DEPLOYED}"),
        ("https://gateway.example/team", DATED, f"https://gateway.example/team{DEPLOYED}"),
        ("https://gateway.example/team/openai", DATED, f"https://gateway.example/team{DEPLOYED}"),
        (
            "https://r.openai.azure.com/openai/deployments/other",
            DATED,
            f"https://r.openai.azure.com{DEPLOYED.replace('gpt4o-prod', 'other')}",
        ),
        ("https://r.openai.azure.com/openai/v1", DATED, "https://r.openai.azure.com/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/openai/v1/", None, "https://r.openai.azure.com/openai/v1/chat/completions"),
        (
            "https://r.openai.azure.com/openai/v1",
            "preview",
            "https://r.openai.azure.com/openai/v1/chat/completions?api-version=preview",
        ),
        ("https://r.openai.azure.com", None, "https://r.openai.azure.com/openai/v1/chat/completions"),
        (
            "https://r.openai.azure.com",
            "preview",
            "https://r.openai.azure.com/openai/v1/chat/completions?api-version=preview",
        ),
    ],
)
def test_azures_address_names_the_deployment_or_is_that_of_its_newer_interface(
    base_url: str, version: str | None, url: str
) -> None:
    assert addresses_for("azure", base_url, version).url_of(CHAT, "gpt4o-prod") == url


def test_an_endpoint_that_names_its_deployment_keeps_it_with_its_version() -> None:
    addresses = AzureAddresses("https://r.openai.azure.com", DATED)
    endpoint = "/openai/deployments/mine/embeddings"
    assert addresses.url_of(endpoint, "m") == f"https://r.openai.azure.com{endpoint}?api-version={DATED}"
    own = f"{endpoint}?api-version=2023-05-15"
    assert addresses.url_of(own, "m") == f"https://r.openai.azure.com{own}"


@pytest.mark.parametrize(
    ("base_url", "version", "url"),
    [
        ("https://r.openai.azure.com", DATED, f"https://r.openai.azure.com/openai/models?api-version={DATED}"),
        (
            "https://r.openai.azure.com/openai/deployments/d",
            DATED,
            f"https://r.openai.azure.com/openai/models?api-version={DATED}",
        ),
        ("https://r.openai.azure.com/openai/v1", DATED, "https://r.openai.azure.com/openai/v1/models"),
    ],
)
def test_azures_list_of_models_belongs_to_the_resource(base_url: str, version: str, url: str) -> None:
    assert AzureAddresses(base_url, version).url_of("/v1/models") == url


@pytest.mark.parametrize(
    ("model", "part"),
    [("gpt-4o", "gpt-4o"), ("a/b", "a%2Fb"), ("../x", "..%2Fx"), ("a b?c#d@e", "a%20b%3Fc%23d%40e"), ("ü", "%C3%BC")],
)
def test_a_deployments_name_is_one_part_of_the_path(model: str, part: str) -> None:
    url = AzureAddresses("https://r.openai.azure.com", DATED).url_of(CHAT, model)
    assert url == f"https://r.openai.azure.com/openai/deployments/{part}/chat/completions?api-version={DATED}"


@pytest.mark.parametrize("model", [None, "", ".", "..", "..."])
def test_a_name_that_is_no_deployment_is_refused(model: str | None) -> None:
    with pytest.raises(InvalidEndpoint, match="model: expected the name of a deployment"):
        AzureAddresses("https://r.openai.azure.com", DATED).url_of(CHAT, model)


def test_only_azures_dated_interface_needs_the_model_for_its_address() -> None:
    assert AzureAddresses("https://r.openai.azure.com", DATED).needs_model
    assert not AzureAddresses("https://r.openai.azure.com/openai/v1", DATED).needs_model
    assert not AzureAddresses("https://r.openai.azure.com/openai/deployments/d", DATED).needs_model
    assert not addresses_for("openai", "https://api.openai.com/v1", None).needs_model
