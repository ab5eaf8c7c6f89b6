"""The demo of docker-compose.yml: its keys are the stand-in's, and its job could be charged to nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keyfleet.config import UNITS, Environment, KeyConfig, load_keys_file
from keyfleet.gateway.api_keys import ApiKeys
from keyfleet.sim import SimConfig, load_sim_config
from support.compose_file import PROJECT, compose_document, parse_command

DOCUMENT = compose_document()
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
NOTHING = Environment({})


def file_of(kind: str, name: str) -> Path:
    return PROJECT / str(DOCUMENT[kind][name]["file"])


@pytest.fixture
def keys() -> tuple[KeyConfig, ...]:
    return load_keys_file(file_of("secrets", "keys.yaml"), NOTHING)


@pytest.fixture
def sim() -> SimConfig:
    return load_sim_config(file_of("configs", "sim.yaml"))


def test_its_keys_are_those_of_the_stand_in_with_the_same_limits(keys: tuple[KeyConfig, ...], sim: SimConfig) -> None:
    known = {key.name: key for key in sim.keys}
    assert {key.name for key in keys} == set(known)
    for key in keys:
        assert key.api_key.expand(NOTHING) == known[key.name].api_key
        limits = key.settings_for("demo").limits
        told = {(unit, limit.amount, limit.get_expiry()) for unit in UNITS for limit in limits.of(unit)}
        assert told == {(limit.of, limit.amount, limit.window_s) for limit in known[key.name].limits}


def test_its_keys_go_to_the_stand_in_at_the_port_where_it_listens(keys: tuple[KeyConfig, ...]) -> None:
    port = parse_command(SERVICES["sim"]["command"])["port"]
    assert {key.base_url for key in keys} == {f"http://sim:{port}/v1"}


def test_its_job_asks_for_a_model_that_only_the_stand_in_has(keys: tuple[KeyConfig, ...], sim: SimConfig) -> None:
    lines = file_of("configs", "requests.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["model"] for line in lines} == {"demo"} == set(sim.models)
    assert len(set(lines)) == len(lines) == 600
    assert all(key.serves("demo") for key in keys)


def test_its_job_is_the_one_that_the_producer_runs_on_the_fleets_workers() -> None:
    producer = SERVICES["producer"]
    given = parse_command(producer["command"])
    assert given["input_name"] == producer["configs"][0]["target"]
    assert given["use_local_workers"] is False
    assert str(given["output"]).startswith(producer["volumes"][0].partition(":")[2])


def test_its_keys_are_told_by_their_names(keys: tuple[KeyConfig, ...]) -> None:
    assert {key.name[:5] for key in keys} == {"demo-"}


def test_the_gateway_has_a_key_for_the_demo() -> None:
    assert len(ApiKeys.find([file_of("secrets", "gateway-keys")], NOTHING)) == 1


def test_only_the_demo_starts_what_is_of_the_demo() -> None:
    of_the_demo = {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]}
    assert of_the_demo == {"sim", "producer"}
    for name in set(SERVICES) - of_the_demo:
        assert not of_the_demo & set(SERVICES[name].get("depends_on", {}))


def test_the_example_of_a_keys_file_reads() -> None:
    keys = load_keys_file(PROJECT / "deploy" / "keys.example.yaml", NOTHING)
    assert [key.name for key in keys] == ["research-1", "research-2", "azure-1"]
