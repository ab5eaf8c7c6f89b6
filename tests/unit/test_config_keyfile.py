"""The keys file: what it may say, and what comes of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from keyfleet.config import (
    Environment,
    KeyConfig,
    ModelLimits,
    ModelSettings,
    ProxyUrl,
    SecretReference,
    load_keys_file,
    parse_limits,
)

SECRET = "sk-very-secret"

WHOLE = """\
defaults:
  headroom: 30%
  concurrency: 16
  headers: {X-Team: research}
keys:
  - name: research-1
    api_key: ${OPENAI_API_KEY_1}
    group: org-research
    proxy: http://me:${PROXY_PASSWORD}@127.0.0.1:7890
    organization: org-1
    project: ${PROJECT}
    timeout_s: 90
    workers: 2
    models:
      gpt-4o-mini: {requests: [500/minute, 10000/day], tokens: [200000/minute]}
      "gpt-4o*": {requests: 60/minute}
      o1:
  - name: azure.1
    api_key: file:/run/secrets/azure
    provider: azure
    base_url: ${AZURE_URL}/openai/v1/
    headers: {api-key: "${AZURE_KEY}"}
    headroom: 0
    concurrency:
    requests: 10/second
    tokens: [1000000/minute, 600/10 second]
"""


def load(tmp_path: Path, text: str, **variables: str) -> tuple[KeyConfig, ...]:
    path = tmp_path / "keys.yaml"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return load_keys_file(path, Environment(variables))


def test_every_field_is_read_over_the_defaults(tmp_path: Path) -> None:
    first, second = load(tmp_path, WHOLE, PROJECT="proj-1", AZURE_URL="https://me.openai.azure.com")
    assert first == KeyConfig(
        name="research-1",
        api_key=SecretReference("${OPENAI_API_KEY_1}"),
        group="org-research",
        proxy=ProxyUrl("http://me:${PROXY_PASSWORD}@127.0.0.1:7890"),
        organization="org-1",
        project="proj-1",
        headers={"X-Team": SecretReference("research")},
        timeout_s=90.0,
        concurrency=16,
        workers=2,
        headroom=0.3,
        models={
            "gpt-4o-mini": ModelSettings(
                ModelLimits(parse_limits(["500/minute", "10000/day"]), parse_limits(["200000/minute"]))
            ),
            "gpt-4o*": ModelSettings(ModelLimits(parse_limits(["60/minute"]))),
            "o1": ModelSettings(),
        },
    )
    assert second == KeyConfig(
        name="azure.1",
        api_key=SecretReference("file:/run/secrets/azure"),
        provider="azure",
        base_url="https://me.openai.azure.com/openai/v1",
        headers={"api-key": SecretReference("${AZURE_KEY}")},
        limits=ModelLimits(parse_limits(["10/second"]), parse_limits(["1000000/minute", "600/10 second"])),
    )
    assert list(first.models) == ["gpt-4o-mini", "gpt-4o*", "o1"], "in the file's order"
    assert (first.line_number, second.line_number) == (6, 18)
    assert (first.share, second.share) == (0.7, 1.0)


@pytest.mark.parametrize(
    ("provider", "base_url"),
    [("openai", "https://api.openai.com/v1"), ("anthropic", "https://api.anthropic.com/v1")],
)
def test_a_provider_with_one_address_needs_no_base_url(tmp_path: Path, provider: str, base_url: str) -> None:
    (key,) = load(tmp_path, f"keys: [{{name: a, api_key: file:/a, provider: {provider}}}]")
    assert key.base_url == base_url


def test_models_may_be_only_named(tmp_path: Path) -> None:
    first, second = load(
        tmp_path,
        "keys:\n- {name: a, api_key: file:/a, models: [o1, gpt*]}\n- {name: b, api_key: file:/b, models: o1}\n",
    )
    assert list(first.models.items()) == [("o1", ModelSettings()), ("gpt*", ModelSettings())]
    assert list(second.models) == ["o1"]


def test_names_are_taken_as_they_are_written(tmp_path: Path) -> None:
    keys = load(tmp_path, "keys:\n- {name: 007, api_key: file:/a}\n- {name: on, api_key: file:/b, models: [4.10]}\n")
    assert [key.name for key in keys] == ["007", "on"]
    assert list(keys[1].models) == ["4.10"]


def test_anchors_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    text = (
        "keys:\n"
        "- &a {name: a, api_key: file:/a, timeout_s: 10m, models: &m {o1: {requests: 5/minute}}}\n"
        "- {<<: *a, name: b, api_key: file:/b}\n"
        "- {name: c, api_key: file:/c, models: *m}\n"
    )
    keys = load(tmp_path, text)
    assert [(key.name, key.timeout_s) for key in keys] == [("a", 600.0), ("b", 600.0), ("c", None)]
    assert keys[0].models == keys[1].models == keys[2].models


def test_of_several_mappings_that_are_merged_the_first_wins(tmp_path: Path) -> None:
    text = (
        "defaults: &one {timeout_s: 1, workers: 1}\n"
        "keys:\n"
        "- &two {name: a, api_key: file:/a, timeout_s: 2, workers: 2, concurrency: 2}\n"
        "- {<<: [*one, *two], name: b, workers: 3}\n"
    )
    key = load(tmp_path, text)[1]
    assert (key.timeout_s, key.workers, key.concurrency) == (1.0, 3, 2)


def test_a_bom_and_crlf_are_no_errors(tmp_path: Path) -> None:
    (key,) = load(tmp_path, "\ufeffkeys:\r\n- name: a\r\n  api_key: ${A}\r\n")
    assert key.api_key == SecretReference("${A}")


def test_an_unset_variable_is_no_error_until_the_key_is_used(tmp_path: Path) -> None:
    keys = load(tmp_path, WHOLE, PROJECT="p", AZURE_URL="https://h", AZURE_KEY="x")
    env = Environment({"AZURE_KEY": "x"})
    assert [key.unset_variables(env) for key in keys] == [("OPENAI_API_KEY_1", "PROXY_PASSWORD"), ()]


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_literal_keys_in_a_file_that_others_may_read_give_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warnings: int
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys:\n- {{name: a, api_key: {SECRET}}}\n- {{name: b, api_key: {SECRET}2}}\n")
    path.chmod(mode)
    load_keys_file(path, Environment({}))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warnings
    assert SECRET not in caplog.text


def test_references_in_a_file_that_others_may_read_give_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("keys: [{name: a, api_key: file:/a}]")
    path.chmod(0o644)
    load_keys_file(path, Environment({}))
    assert not caplog.records


OPENAI_MANAGER = f"""\
auth_1:
  api_key: {SECRET}-1  # mandatory
  proxy: http://127.0.0.1:7892
  requests_per_min: 10
  tokens_per_min: 40000
auth2: {{api_key: {SECRET}-2}}
"""


def test_the_file_of_openai_manager_is_converted_under_the_names_of_its_sections(tmp_path: Path) -> None:
    first, second = load(tmp_path, OPENAI_MANAGER)
    assert first == KeyConfig(
        name="auth_1",
        api_key=SecretReference(f"{SECRET}-1"),
        proxy=ProxyUrl("http://127.0.0.1:7892"),
        limits=ModelLimits(parse_limits(["10/minute"]), parse_limits(["40000/minute"])),
    )
    assert second == KeyConfig(name="auth2", api_key=SecretReference(f"{SECRET}-2"))


def test_a_section_without_limits_takes_those_of_the_environment(tmp_path: Path) -> None:
    first, second = load(tmp_path, OPENAI_MANAGER, REQUESTS_PER_MIN_LIMIT="77")
    assert first.pools_for("any")[0].limits == ModelLimits(parse_limits(["10/minute"]), parse_limits(["40000/minute"]))
    assert second.pools_for("any")[0].limits == ModelLimits(parse_limits(["77/minute"]))


def test_every_section_takes_the_limit_of_images_of_the_environment(tmp_path: Path) -> None:
    first, second = load(tmp_path, OPENAI_MANAGER, KEYFLEET_IMAGES_PER_MINUTE="5")
    images = parse_limits(["5/minute"])
    assert first.limits == ModelLimits(parse_limits(["10/minute"]), parse_limits(["40000/minute"]), images)
    assert second.limits == ModelLimits(images=images)


def test_a_section_of_another_name_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = load(tmp_path, OPENAI_MANAGER + f"auht_3: {{api_key: {SECRET}}}\n")
    assert len(keys) == 2
    assert "line 7: passed over: its name doesn't begin with `auth`" in caplog.text
