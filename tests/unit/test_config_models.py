"""What stands at models: names at the provider, families, and several names for one limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyfleet.config import (
    REFUNDS,
    Environment,
    KeyConfig,
    ModelLimits,
    ModelSettings,
    Pool,
    load_keys_file,
    parse_limits,
)
from keyfleet.errors import KeysFileError

FIVE = ModelLimits(parse_limits(["5/minute"]))


def load(tmp_path: Path, models: str, more: str = "") -> KeyConfig:
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys:\n- name: a\n  api_key: file:/a\n{more}  models:\n{models}", encoding="utf-8")
    return load_keys_file(path, Environment({}))[0]


def refused(tmp_path: Path, models: str) -> KeysFileError:
    with pytest.raises(KeysFileError) as caught:
        load(tmp_path, models)
    return caught.value


def test_a_model_may_have_another_name_at_the_provider(tmp_path: Path) -> None:
    key = load(tmp_path, "    gpt-4o: {as: gpt4o-prod, rpm: 5}\n    o1: {as: openai/o1:free}\n    o3:\n")
    assert key.settings_for("gpt-4o") == ModelSettings(FIVE, alias="gpt4o-prod")
    assert [key.settings_for(model).alias for model in ("o1", "o3")] == ["openai/o1:free", None]


def test_models_of_one_family_share_the_pool_with_limits_at_one_of_them(tmp_path: Path) -> None:
    key = load(tmp_path, "    a: {family: f}\n    b: {family: f, rpm: 5}\n    c: {rpm: 6}\n")
    assert key.pools_for("a") == key.pools_for("b") == (Pool("own", "f", FIVE),)
    assert key.pools_for("c") != key.pools_for("a")


def test_limits_of_a_family_may_be_repeated(tmp_path: Path) -> None:
    key = load(tmp_path, "    a: {family: f, rpm: 5}\n    b: {family: f, requests: 5/minute}\n")
    assert key.pools_for("a") == key.pools_for("b") == (Pool("own", "f", FIVE),)


def test_a_family_may_be_named_for_one_of_its_models(tmp_path: Path) -> None:
    key = load(tmp_path, "    gpt-4o: {rpm: 5}\n    gpt-4o-2024-08-06: {family: gpt-4o}\n")
    assert key.pools_for("gpt-4o-2024-08-06") == key.pools_for("gpt-4o") == (Pool("own", "gpt-4o", FIVE),)


def test_a_family_without_limits_learns_them_together(tmp_path: Path) -> None:
    key = load(tmp_path, "    a*: {family: f}\n    b: {family: f}\n")
    assert key.pools_for("a1") == key.pools_for("a2") == key.pools_for("b") == (Pool("own", "f", None),)


@pytest.mark.parametrize(
    ("models", "scope"),
    [
        ("    gpt-4o, gpt-4o-2024-08-06: {rpm: 5}\n", "gpt-4o"),
        ('    {"gpt-4o,gpt-4o-2024-08-06": {rpm: 5}}\n', "gpt-4o"),
        ("    gpt-4o, gpt-4o-2024*: {rpm: 5, family: all}\n", "all"),
    ],
)
def test_names_with_commas_between_share_one_limit(tmp_path: Path, models: str, scope: str) -> None:
    key = load(tmp_path, models)
    assert key.pools_for("gpt-4o") == key.pools_for("gpt-4o-2024-08-06") == (Pool("own", scope, FIVE),)
    assert not key.serves("gpt-4o-mini")


@pytest.mark.parametrize(
    ("models", "line_number", "message"),
    [
        ("    a: {family: f, rpm: 5}\n    b: {family: f, rpm: 6}\n", 6, "the limits differ from those in line 5"),
        ("    a: {rpm: 5}\n    b: {family: a, tpm: 5}\n", 6, "expected the same limits, or limits at one of them"),
        ("    a, b: {rpm: 5}\n    b: {rpm: 5}\n", 6, "one of these names stands already in line 5"),
        ("    a, : {rpm: 5}\n", 5, "expected a model's name or pattern, or several with commas between"),
        ("    a b: {rpm: 5}\n", 5, "expected a model's name or pattern"),
        ("    a: {as: 'x*'}\n", 5, "`as`: expected a name without blanks, commas and wildcards"),
        ("    a: {as: [x]}\n", 5, "`as`: expected one value"),
        ("    a: {family: 'x, y'}\n", 5, "`family`: expected a name without blanks"),
        ("    a: {famly: x}\n", 5, "did you mean `family`?"),
        ("    - a\n    - b, c\n", 6, "expected one name; write several as a list: [a, b]"),
        ("    {a, b: {rpm: 5}}\n", 5, 'put names that share a limit in quotes ("a, b": …)'),
    ],
)
def test_what_is_wrong_at_a_model_is_named_with_its_line(
    tmp_path: Path, models: str, line_number: int, message: str
) -> None:
    error = refused(tmp_path, models)
    assert message in str(error)
    assert error.line_number == line_number


def test_names_in_braces_without_any_settings_are_a_list(tmp_path: Path) -> None:
    assert list(load(tmp_path, "    {a, b}\n").models) == ["a", "b"]
    assert list(load(tmp_path, "    {a: , b: {rpm: 5}}\n").models) == ["a", "b"]


AZURE = "  provider: azure\n  base_url: https://mine.openai.azure.com\n"


@pytest.mark.parametrize("version", ["2024-10-21", "2025-04-01-preview", "v1", "preview"])
def test_azure_may_be_asked_for_another_version(tmp_path: Path, version: str) -> None:
    assert load(tmp_path, "    a:\n", f"{AZURE}  api_version: {version}\n").api_version == version


def test_a_version_in_the_defaults_is_only_azures(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    azure = "{name: a, api_key: file:/a, provider: azure, base_url: 'https://h'}"
    path.write_text(f"defaults: {{api_version: v1}}\nkeys: [{azure}, {{name: b, api_key: file:/b}}]\n")
    assert [key.api_version for key in load_keys_file(path, Environment({}))] == ["v1", None]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (AZURE + "  api_version: latest1\n", "`api_version`: expected a version of Azure's interface such as 2024"),
        ("  api_version: v1\n", "`api_version`: only the provider azure has one"),
        ("  refunds: perhaps\n", "`refunds`: expected yes or no"),
    ],
)
def test_a_wrong_field_of_the_provider_is_named(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(KeysFileError, match=message) as caught:
        load(tmp_path, "    a:\n", more)
    assert caught.value.line_number == more.count("\n") + 3


def test_refunds_are_as_the_file_says_else_left_to_the_provider(tmp_path: Path) -> None:
    assert [load(tmp_path, "    a:\n", f"  refunds: {word}\n").refunds for word in ("true", "no")] == [True, False]
    assert load(tmp_path, "    a:\n").refunds is None
    assert REFUNDS == {"openai": False, "azure": False, "anthropic": True, "compatible": False}
