"""The stand-in's settings say which field is wrong and what is expected there."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyfleet.errors import ConfigurationError
from keyfleet.sim import (
    SimAnswers,
    SimConfig,
    SimFaults,
    SimKey,
    SimLatency,
    SimLimit,
    config_from_document,
    document_of,
    load_sim_config,
    parse_limits,
)

KEY = SimKey(name="one", api_key="sk-sim-secret-one")

WHOLE_FILE = """
kind: token_bucket
quantum_s: 1
refused_counts: true
models: [gpt-4o, text-embedding-3-small]
latency: {latency_ms: 20, jitter_ms: 5, admission_jitter_ms: 50, first_token_ms: 9, token_interval_ms: 1.5}
answers: {answer_bytes: 50000, completion_tokens: 7}
faults: {error_500: 0.1, hang_s: 30, break_off: 0.2, break_after_tokens: 5}
seed: 7
keys:
  - name: one
    api_key: sk-sim-secret-one
    group: org
    requests: [600/10 second, 10000/day]
    tokens: [40000/minute]
  - name: two
    api_key: sk-sim-secret-two
    behaviour: revoked
    models:
      gpt-4o*: {requests: [{amount: 5, window_s: 0.5}]}
"""


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text(WHOLE_FILE)
    config = load_sim_config(path)
    assert config.keys[0].limits == (
        SimLimit("requests", 600, 10.0),
        SimLimit("requests", 10_000, 86_400.0),
        SimLimit("tokens", 40_000, 60.0),
    )
    assert config.keys[1].models == {"gpt-4o*": (SimLimit("requests", 5, 0.5),)}
    assert config.keys[1].behaviour == "revoked"
    assert config.latency == SimLatency(
        latency_ms=20, jitter_ms=5, admission_jitter_ms=50, first_token_ms=9, token_interval_ms=1.5
    )
    assert (config.faults.break_off, config.faults.break_after_tokens) == (0.2, 5)
    assert (config.faults.error_500, config.faults.hang_s, config.answers.completion_tokens) == (0.1, 30, 7)


def test_a_configuration_reads_back_equal_from_its_document(tmp_path: Path) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text(WHOLE_FILE)
    config = load_sim_config(path)
    assert config_from_document(document_of(config)) == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keys: [{name: a, api_key: sk-secret, colour: red}]", "keys[0]: unknown field 'colour'"),
        ("keys: [{name: a}]", "keys[0]: the field api_key is missing"),
        ("keys: [{name: a, api_key: sk-secret, requests: [many]}]", "keys[0].requests[0]: requests: expected a limit"),
        ("keys: [{name: a, api_key: sk-secret, requests: 5}]", "keys[0].requests: expected a list"),
        ("keys: [{name: a, api_key: sk-secret, tokens: [{amount: 0, window_s: 1}]}]", "keys[0].tokens[0]: amount"),
        ("keys: [{name: a, api_key: sk-secret, behaviour: odd}]", "keys[0].behaviour: expected one of ok, revoked"),
        ("keys: [{name: a, api_key: sk-secret, models: {m: {limit: 5}}}]", "keys[0].models.m: unknown field 'limit'"),
        ("keys: [{name: a, api_key: sk-1}, {name: a, api_key: sk-2}]", "keys[1].name: expected a name used once"),
        ("keys: [{name: a, api_key: sk-secret}, {name: b, api_key: sk-secret}]", "keys[1].api_key: expected a key of"),
        ("accept_any_key: true\nkind: leaky", "kind: expected one of sliding, token_bucket, fixed"),
        ("accept_any_key: true\nfaults: {error_500: 1.5}", "faults.error_500: expected a share from 0 to 1"),
        ("accept_any_key: true\nfaults: {reset: 0.6, hang: 0.6}", "shares that add up to 1 at most"),
        ("accept_any_key: true\nfaults: {explode: 1}", "faults: unknown field 'explode'"),
        ("accept_any_key: true\nlatency: {latency_ms: -1}", "latency.latency_ms: expected a number of 0 or more"),
        ("accept_any_key: true\nlatency: 20", "latency: expected fields and values"),
        ("accept_any_key: true\nanswers: {answer_bytes: big}", "answers.answer_bytes: expected a whole number"),
        ("accept_any_key: true\nquantum_s: 0", "quantum_s: expected a number above 0"),
        ("accept_any_key: 1", "accept_any_key: expected true or false"),
        ("- keys", "the configuration: expected fields and values"),
        ("", "keys: expected at least one key, or accept_any_key: true"),
        ("keys: [", "line 1: is no valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field_and_what_is_expected(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_sim_config(path)
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: can't be read"):
        load_sim_config(tmp_path / "gone.yaml")


def test_keys_of_one_group_must_have_the_same_limits() -> None:
    other = SimKey(name="two", api_key="sk-2", group="one", limits=parse_limits(requests=["5/minute"]))
    with pytest.raises(ConfigurationError, match=r"keys\[1\]: expected the limits, kind and flavour of 'one'"):
        SimConfig(keys=(KEY, other))


def test_a_key_does_not_show_in_a_repr() -> None:
    assert "sk-sim-secret-one" not in repr(SimConfig(keys=(KEY,)))


def test_settings_given_in_python_are_checked_too() -> None:
    with pytest.raises(ConfigurationError, match="bytes_per_token: expected a number above 0"):
        SimAnswers(bytes_per_token=0)
    with pytest.raises(ConfigurationError, match="hang_s: expected a number above 0"):
        SimFaults(hang_s=-1)
