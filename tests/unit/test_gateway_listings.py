"""Models, health and readiness."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from keyfleet.errors import BrokerUnavailable
from support.gateway_case import Answered, ask
from support.serving_fleet import ServedFleet


def get(fleet: ServedFleet, path: str, **more: Any) -> Answered:
    return ask(fleet, path, b"", method="GET", **more)


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_models_of_all_keys_are_listed(path: str) -> None:
    fleet = ServedFleet()
    assert get(fleet, path).document == {"object": "list", "data": fleet.models}


@pytest.mark.parametrize("name", ["gpt", "org/gpt/large"])
def test_a_model_is_found_by_its_name(name: str) -> None:
    assert get(ServedFleet(), f"/v1/models/{name}").document["id"] == name


@pytest.mark.parametrize("name", ["", "other", "gpt/", "org/gpt", "g%00t"])
def test_a_model_that_nobody_serves_is_not_found(name: str) -> None:
    answered = get(ServedFleet(), f"/v1/models/{name}")
    assert (answered.status, answered.error["code"]) == (404, "model_not_found")


def test_without_a_broker_models_cant_be_told() -> None:
    class Away(ServedFleet):
        async def amodels(self) -> list[dict[str, Any]]:
            raise BrokerUnavailable("nobody answers")

    answered = get(Away(), "/v1/models")
    assert (answered.status, answered.headers["retry-after"]) == (503, "5")


def test_health_needs_no_key() -> None:
    fleet = ServedFleet()
    fleet.reason = "no worker is running"
    assert get(fleet, "/healthz", headers={"authorization": ""}).document == {"status": "ok"}


def test_ready_is_ready_for_all() -> None:
    assert get(ServedFleet(), "/readyz", headers={"authorization": ""}).document == {"status": "ready"}


@pytest.mark.parametrize(
    ("authorization", "keys", "is_told"),
    [("Bearer k", ("k",), True), ("", ("k",), False), ("Bearer no", ("k",), False), ("", (), True)],
)
def test_why_it_is_not_ready_is_told_to_those_who_may_make_calls(
    authorization: str, keys: tuple[str, ...], is_told: bool
) -> None:
    fleet = ServedFleet()
    fleet.reason = "all keys are revoked: key-1"
    answered = get(fleet, "/readyz", headers={"authorization": authorization}, keys=keys)
    assert (answered.status, answered.error["code"]) == (503, "not_ready")
    assert answered.error["message"] == (fleet.reason if is_told else "not ready")


def test_readiness_is_told_though_all_threads_wait_for_the_broker() -> None:
    class Watched(ServedFleet):
        def readiness(self) -> str:
            return "" if threading.current_thread() is threading.main_thread() else "asked on another thread"

    assert get(Watched(), "/readyz").status == 200


def test_a_broker_that_is_away_is_a_reason() -> None:
    class Away(ServedFleet):
        def readiness(self) -> str:
            raise BrokerUnavailable("nobody answers")

    assert get(Away(), "/readyz").error["message"] == "nobody answers"
