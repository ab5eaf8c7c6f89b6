"""The OpenAPI description: it is true, and nothing that it allows or forbids makes the gateway fail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from keyfleet.gateway.app import CALL_PATHS
from keyfleet.gateway.description import describe
from keyfleet.gateway.schemas import SCHEMAS
from support.gateway_case import KEY, RunningGateway, ask, running_gateway
from support.serving_fleet import ServedFleet

CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance, unsupported_method, ignored_auth),
]

MOST_S = 15.0
"""How long all operations together may be tried (s)."""

EXAMPLES = 25
"""How often each operation is tried as described, and as often otherwise."""

CALLS = [f"POST {path}" for path in CALL_PATHS]
LISTINGS = ["GET /v1/models", "GET /v1/models/{id}", "GET /healthz", "GET /readyz"]

TRIALS = [
    *((label, GenerationMode.POSITIVE) for label in (*CALLS, *LISTINGS)),
    *((label, GenerationMode.NEGATIVE) for label in (*CALLS, "GET /v1/models/{id}")),
]
"""Nothing can be wrong about a GET without parameters."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    with running_gateway(ServedFleet()) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def schema(gateway: RunningGateway) -> Any:
    url = f"http://127.0.0.1:{gateway.port}/openapi.json"
    return schemathesis.openapi.from_url(url, headers={"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize(("label", "mode"), TRIALS)
def test_no_request_makes_the_gateway_fail_or_its_description_wrong(schema: Any, label: str, mode: Any) -> None:
    operation = next(found.ok() for found in schema.get_all_operations() if found.ok().label == label)
    until_s = time.monotonic() + MOST_S / len(TRIALS)

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_it(case: Any) -> None:
        if time.monotonic() < until_s:
            case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, checks=CHECKS)

    try_it()


def test_every_path_is_described_and_every_described_path_is_there() -> None:
    document = ask(ServedFleet(), "/openapi.json", b"", method="GET").document
    assert set(document["paths"]) == {
        *CALL_PATHS,
        *("/v1/models", "/v1/models/{id}", "/healthz", "/readyz", "/openapi.json"),
    }
    for path, methods in document["paths"].items():
        for method in methods.keys() - {"parameters"}:
            assert ask(ServedFleet(), path.replace("{id}", "gpt"), b"", method=method.upper()).status in (200, 400)


def test_without_api_keys_none_is_described() -> None:
    assert describe(asks_for_key=False)["security"] == []
    assert describe(asks_for_key=True)["paths"]["/healthz"]["get"]["security"] == []


def test_every_schema_is_used() -> None:
    text = str(describe(asks_for_key=True))
    assert [name for name in SCHEMAS if f"'#/components/schemas/{name}'" not in text] == []
