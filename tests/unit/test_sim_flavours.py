"""The stand-in as Azure and as Anthropic: called as these are, with answers that mean what theirs mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from keyfleet.config import Provider
from keyfleet.sim import SimConfig, SimKey, SimServer, parse_limits
from keyfleet_workers.provider import Answer, ProviderClient, Verdict, VerdictKind, classify, limit_reports
from keyfleet_workers.provider.client import ReadOnceEnvironment

LIMITS = parse_limits(requests=["2/minute"], tokens=["1000/minute"])

FLAVOURS: list[Any] = ["openai", "azure", "anthropic"]

every_flavour = pytest.mark.parametrize("flavour", FLAVOURS)

VERSION = "2024-10-21"


class SimCredentials:
    """The key of one flavour, presented as that provider wants it."""

    proxy_url = None

    def __init__(self, sim: SimServer, flavour: Provider, path: str = "") -> None:
        self.provider: Provider = flavour
        self.base_url = sim.base_url + path
        self.api_version = VERSION if flavour == "azure" else None

    def headers(self) -> dict[str, str]:
        secret = f"sk-{self.provider}"
        return {"api-key": secret} if self.provider == "azure" else {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def sim() -> Iterator[SimServer]:
    keys = tuple(
        SimKey(name=flavour, api_key=f"sk-{flavour}", flavour=flavour, models={"known*": LIMITS, "free": ()})
        for flavour in FLAVOURS
    )
    with SimServer(SimConfig(keys=keys)) as server:
        yield server


def client_of(sim: SimServer, flavour: Provider, path: str = "") -> ProviderClient:
    environment = ReadOnceEnvironment({}, True)
    return ProviderClient(SimCredentials(sim, flavour, path), connect_timeout_s=5.0, environment=environment)


def chat(client: ProviderClient, prompt: str = "hello", model: str = "free", **fields: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
    return client.post("/v1/chat/completions", json.dumps(body).encode(), read_timeout_s=10)


def verdict_of(flavour: Provider, answer: Answer) -> Verdict:
    return classify(flavour, answer.status, answer.headers, answer.body)


@every_flavour
def test_a_call_and_the_list_of_models_are_answered(sim: SimServer, flavour: Provider) -> None:
    client = client_of(sim, flavour)
    answer = chat(client)
    assert (answer.status, json.loads(answer.body)["model"]) == (200, "free")
    assert client.get("/v1/models", read_timeout_s=10).status == 200


@pytest.mark.parametrize("path", ["", "/openai", "/openai/v1", "/openai/deployments/free"])
def test_azure_is_reached_by_every_form_of_its_base_url(sim: SimServer, path: str) -> None:
    client = client_of(sim, "azure", path)
    assert verdict_of("azure", chat(client)).kind is VerdictKind.SUCCESS
    assert client.get("/v1/models", read_timeout_s=10).status == 200


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ("revoked", VerdictKind.REVOKED),
        ("deactivated", VerdictKind.REVOKED),
        ("out_of_credit", VerdictKind.OUT_OF_CREDIT),
        ("region_blocked", VerdictKind.UNREACHABLE),
        ("outage", VerdictKind.RETRYABLE),
    ],
)
@every_flavour
def test_a_key_that_is_not_in_order_is_known_as_what_it_is(
    sim: SimServer, flavour: Provider, behaviour: Any, kind: VerdictKind
) -> None:
    sim.set_behaviour("*", behaviour)
    assert verdict_of(flavour, chat(client_of(sim, flavour))).kind is kind


@every_flavour
def test_a_model_that_the_key_does_not_have_is_lost(sim: SimServer, flavour: Provider) -> None:
    verdict = verdict_of(flavour, chat(client_of(sim, flavour), model="unknown"))
    assert verdict.kind is VerdictKind.MODEL_LOST
    code = {"openai": "model_not_found", "azure": "DeploymentNotFound", "anthropic": "not_found_error"}[flavour]
    assert verdict.code == code


@every_flavour
def test_limits_are_told_and_enforced_as_the_provider_does(sim: SimServer, flavour: Provider) -> None:
    client = client_of(sim, flavour)
    first = chat(client, model="known", max_tokens=10)
    reports = limit_reports(flavour, first.headers, now_s=0.0)
    assert {(one.unit, one.amount) for one in reports} == {("requests", 2), ("tokens", 1000)}
    assert {one.unit: one.remaining for one in reports}["requests"] == 1
    chat(client, model="known", max_tokens=10)
    verdict = verdict_of(flavour, chat(client, model="known", max_tokens=10))
    assert verdict.kind is VerdictKind.RATE_LIMITED
    assert verdict.wait_ms is not None
    assert 50_000 < verdict.wait_ms <= 60_000
    assert ("retry-after-ms" in chat(client, model="known").headers) == (flavour != "anthropic")


@pytest.mark.parametrize("flavour", ["openai", "azure"])
def test_a_request_that_can_never_fit_is_too_large(sim: SimServer, flavour: Provider) -> None:
    verdict = verdict_of(flavour, chat(client_of(sim, flavour), model="known", max_tokens=5000))
    assert verdict.kind is VerdictKind.TOO_LARGE


@pytest.mark.parametrize(
    ("marker", "kind"),
    [
        ("500", VerdictKind.RETRYABLE),
        ("529", VerdictKind.RETRYABLE),
        ("account_deactivated", VerdictKind.REVOKED),
        ("unsupported_country", VerdictKind.UNREACHABLE),
        ("insufficient_quota", VerdictKind.OUT_OF_CREDIT),
        ("content_policy", VerdictKind.FINAL),
        ("context_length", VerdictKind.FINAL),
        ("429", VerdictKind.RATE_LIMITED),
    ],
)
@every_flavour
def test_errors_that_a_prompt_asks_for_mean_the_same_everywhere(
    sim: SimServer, flavour: Provider, marker: str, kind: VerdictKind
) -> None:
    assert verdict_of(flavour, chat(client_of(sim, flavour), f"[[sim:{marker}]]")).kind is kind


@pytest.mark.parametrize(("flavour", "other"), [("azure", "openai"), ("openai", "azure")])
def test_a_path_of_another_provider_is_not_found(sim: SimServer, flavour: Any, other: Any) -> None:
    class Misled(SimCredentials):
        def headers(self) -> dict[str, str]:
            return {"Authorization": f"Bearer sk-{flavour}"}

    client = ProviderClient(Misled(sim, other), connect_timeout_s=5.0, environment=ReadOnceEnvironment({}, True))
    verdict = verdict_of(flavour, chat(client))
    assert (verdict.kind, chat(client).status) == (VerdictKind.FINAL, 404)
    assert client.get("/v1/models", read_timeout_s=10).status == 404


def test_azures_dated_interface_wants_its_version(sim: SimServer) -> None:
    credentials = SimCredentials(sim, "azure")
    credentials.api_version = None
    client = ProviderClient(credentials, connect_timeout_s=5.0, environment=ReadOnceEnvironment({}, True))
    assert chat(client).status == 200  # the newer interface, which needs none
    assert client.post("/openai/deployments/free/chat/completions", b"{}", read_timeout_s=10).status == 404
