"""Calls with lists of inputs: how many the stand-in takes, and that it tells them apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from keyfleet.errors import ConfigurationError
from keyfleet.sim import SimConfig, SimKey, SimServer, config_from_document, document_of

KEYS = (SimKey(name="one", api_key="sk-one"),)


def embed(sim: SimServer, *inputs: str) -> requests.Response:
    body = {"model": "m", "input": list(inputs) if len(inputs) > 1 else inputs[0]}
    headers = {"Authorization": "Bearer sk-one"}
    return requests.post(f"{sim.base_url}/v1/embeddings", json=body, headers=headers, timeout=10)


def test_more_inputs_than_a_call_may_hold_are_refused() -> None:
    with SimServer(SimConfig(keys=KEYS, max_inputs=2)) as sim:
        assert embed(sim, "a", "b").status_code == 200
        refused = embed(sim, "a", "b", "c")
        assert sim.stats()["keys"]["one"]["admitted"] == 1
    assert refused.status_code == 413
    assert refused.json()["error"]["message"] == "batch size 3 > maximum allowed batch size 2"


@pytest.mark.parametrize("field", [{"max_inputs": 0}, {"max_inputs": "many"}, {"track_inputs": 1}])
def test_settings_of_inputs_are_checked(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(field))):
        config_from_document({"accept_any_key": True, **field})


def test_settings_of_inputs_are_written_as_they_are_read() -> None:
    config = SimConfig(keys=KEYS, max_inputs=32, track_inputs=True)
    assert config_from_document(json.loads(json.dumps(document_of(config)))) == config


def test_inputs_that_are_sent_again_are_told_whichever_calls_they_are_in() -> None:
    with SimServer(SimConfig(keys=KEYS, track_inputs=True)) as sim:
        embed(sim, "a", "b")
        embed(sim, "b", "c", "d")
        embed(sim, "d")
        stats = sim.stats()
    assert (stats["answered_bodies"], stats["sent_after_success"], stats["concurrent_duplicates"]) == (4, 2, 0)


def test_inputs_of_a_call_that_failed_may_be_sent_again() -> None:
    with SimServer(SimConfig(keys=KEYS, track_inputs=True)) as sim:
        assert embed(sim, "a", "[[sim:400]]").status_code == 400
        assert embed(sim, "a").status_code == 200
        stats = sim.stats()
    assert (stats["answered_bodies"], stats["sent_after_success"]) == (1, 0)
