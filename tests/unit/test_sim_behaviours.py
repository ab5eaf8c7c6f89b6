"""A key of the stand-in can be revoked, emptied, blocked or cut off while it runs, and put in order again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import requests

from keyfleet.errors import ConfigurationError
from keyfleet.sim import SimConfig, SimKey, SimProcess, SimServer

KEYS = (SimKey(name="one", api_key="sk-one"), SimKey(name="two", api_key="sk-two"))


@pytest.fixture
def sim() -> Iterator[SimServer]:
    with SimServer(SimConfig(keys=KEYS, accept_any_key=True)) as server:
        yield server


def ask(sim: SimServer, key: str = "one") -> tuple[int, Any]:
    """The status and the error code of a call."""
    body = {"model": "m", "input": "a"}
    headers = {"Authorization": f"Bearer sk-{key}"}
    answer = requests.post(f"{sim.base_url}/v1/embeddings", json=body, headers=headers, timeout=10)
    return answer.status_code, answer.json().get("error", {}).get("code")


def list_models(sim: SimServer, key: str = "one") -> int:
    return requests.get(
        f"{sim.base_url}/v1/models", headers={"Authorization": f"Bearer sk-{key}"}, timeout=10
    ).status_code


@pytest.mark.parametrize(
    ("behaviour", "call", "models_status"),
    [
        ("revoked", (401, "invalid_api_key"), 401),
        ("deactivated", (401, "account_deactivated"), 401),
        ("out_of_credit", (429, "insufficient_quota"), 200),
        ("region_blocked", (403, "unsupported_country_region_territory"), 403),
        ("outage", (503, "service_unavailable"), 503),
        ("ok", (200, None), 200),
    ],
)
def test_a_key_behaves_from_now_on_as_it_is_told(
    sim: SimServer, behaviour: Any, call: tuple[int, Any], models_status: int
) -> None:
    assert ask(sim) == (200, None)
    sim.set_behaviour("one", behaviour)
    assert (ask(sim), list_models(sim)) == (call, models_status)
    assert (ask(sim, "two"), list_models(sim, "two")) == ((200, None), 200)
    sim.set_behaviour("one", "ok")
    assert (ask(sim), list_models(sim)) == ((200, None), 200)


def test_an_outage_of_all_keys_strikes_those_that_come_later_too(sim: SimServer) -> None:
    assert ask(sim, "stranger") == (200, None)
    sim.set_behaviour("*", "outage")
    assert {ask(sim, key)[0] for key in ("one", "two", "stranger", "newcomer")} == {503}
    sim.set_behaviour("*", "ok")
    assert {ask(sim, key)[0] for key in ("one", "two", "stranger", "newcomer", "another")} == {200}


def test_what_a_broken_key_asks_for_is_charged_to_no_limit(sim: SimServer) -> None:
    sim.set_behaviour("one", "outage")
    ask(sim)
    counts = sim.stats()["keys"]["one"]
    assert (counts["requests"], counts["admitted"], counts["by_status"]) == (1, 0, {"503": 1})


def test_a_behaviour_can_be_set_over_http(sim: SimServer) -> None:
    answer = requests.post(f"{sim.base_url}/sim/keys/one", json={"behaviour": "revoked"}, timeout=10)
    assert (answer.status_code, answer.json()) == (200, {"key": "one", "behaviour": "revoked"})
    assert ask(sim) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("one", b'{"behaviour": "odd"}', "behaviour"),
        ("one", b'{"behaviour": ["ok"]}', "behaviour"),
        ("one", b"{}", "behaviour"),
        ("one", b"[]", "behaviour"),
        ("one", b"", "behaviour"),
        ("three", b'{"behaviour": "ok"}', "keys"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(sim: SimServer, name: str, body: bytes, param: str) -> None:
    answer = requests.post(f"{sim.base_url}/sim/keys/{name}", data=body, timeout=10)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert ask(sim) == (200, None)


def test_a_stand_in_in_a_process_of_its_own_is_told_in_the_same_way() -> None:
    with SimProcess(SimConfig(keys=KEYS)) as process:
        process.set_behaviour("one", "out_of_credit")
        with pytest.raises(ConfigurationError, match="no key 'th ree'"):
            process.set_behaviour("th ree", "ok")
        with pytest.raises(ConfigurationError, match="behaviour: expected one of ok"):
            process.set_behaviour("one", cast("Any", "odd"))
        assert set(process.stats()) >= {"requests"}
        headers = {"Authorization": "Bearer sk-one"}
        url = f"{process.base_url}/v1/embeddings"
        assert requests.post(url, json={"model": "m", "input": "a"}, headers=headers, timeout=10).status_code == 429


def test_an_unknown_key_is_an_error_that_names_it(sim: SimServer) -> None:
    with pytest.raises(ConfigurationError, match="no key 'three'"):
        sim.set_behaviour("three", "ok")


def test_a_reset_brings_back_what_was_configured(sim: SimServer) -> None:
    sim.set_behaviour("*", "revoked")
    sim.reset()
    assert ask(sim) == (200, None)
