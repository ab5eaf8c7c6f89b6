"""What is wrong in a keys file is named with its line and what is expected, and no value is quoted."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from keyfleet.config import Environment, check_variables, load_keys_file
from keyfleet.errors import ConfigurationError, KeysFileError

SECRET = "sk-very-secret-0123456789"

KEY = "keys:\n  - name: a\n    api_key: ${A}\n    "


def error_of(tmp_path: Path, text: str | bytes) -> KeysFileError:
    path = tmp_path / "keys.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    with pytest.raises(KeysFileError) as caught:
        load_keys_file(path, Environment({"SET": "1"}))
    assert str(path) in str(caught.value)
    assert caught.value.path == path
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    return caught.value


@pytest.mark.parametrize(
    ("text", "line_number", "message"),
    [
        pytest.param("", None, "holds no keys; `keyfleet init --force` writes an example", id="empty file"),
        pytest.param("# keys\n", None, "holds no keys", id="only comments"),
        pytest.param("keys:\n", 1, "`keys` is empty; expected at least one key", id="nothing under keys"),
        pytest.param("\nkeys: []\n", 2, "`keys` is empty", id="empty list"),
        pytest.param("defaults: {}\n", 1, "`keys` is missing", id="no keys"),
        pytest.param("- name: a\n", 1, "a keys file: expected a mapping", id="a list on top"),
        pytest.param("keys:\n  a: {api_key: x}\n", 2, "`keys`: expected a list", id="keys as mapping"),
        pytest.param("keys: x\n", 1, "`keys`: expected a list", id="keys as text"),
        pytest.param("keys:\n  - x\n", 2, "a key: expected a mapping", id="key as text"),
        pytest.param("keys: [x]\nbroker: y\n", 2, "unknown field `broker`; expected one of keys, defaults", id="top"),
        pytest.param("key: []\n", 1, "unknown field `key`; did you mean `keys`?", id="top typo"),
        pytest.param(KEY + "modles: {}", 4, "unknown field `modles`; did you mean `models`?", id="typo"),
        pytest.param(KEY + f"{SECRET}: x", 4, "unknown field `…`", id="a secret as a field"),
        pytest.param(KEY + "name: b", 4, "`name` stands here twice", id="twice in YAML"),
        pytest.param(KEY + "models: {o1: , o1: }", 4, "`models`: `…` stands here twice", id="model twice"),
        pytest.param("keys:\n- api_key: x\n", 2, "`name` is missing", id="no name"),
        pytest.param("keys:\n- name: a\n", 2, "`api_key` is missing", id="no api_key"),
        pytest.param("keys:\n- name: a\n  api_key:\n", 2, "`api_key` is missing", id="api_key of nothing"),
        pytest.param("keys:\n- name: a\n  api_key: ''\n", 3, "found nothing", id="blank api_key"),
        pytest.param("keys:\n- name: a\n  api_key: [x]\n", 3, "`api_key`: expected one value", id="api_key as list"),
        pytest.param("keys:\n- name: a\n  api_key: $A\n", 3, "in braces: ${NAME}", id="no braces"),
        pytest.param("keys:\n- name: a\n  api_key: ${A-b}\n", 3, "in the form ${NAME}", id="odd reference"),
        pytest.param("keys:\n- name: a b\n  api_key: x\n", 2, "`name`: expected 1 to 64 letters", id="odd name"),
        pytest.param(f"keys:\n- name: {SECRET}\n  api_key: x\n", 2, "looks like an API key", id="secret as name"),
        pytest.param(KEY + "group: a/b", 4, "`group`: expected 1 to 64 letters", id="odd group"),
        pytest.param(KEY + "provider: opneai", 4, "`provider`: expected one of openai, azure", id="provider"),
        pytest.param(KEY + "provider: azure", 2, "`base_url` is missing; the provider azure", id="azure"),
        pytest.param(KEY + "base_url: api.openai.com", 4, "`base_url`: expected an address such as", id="base_url"),
        pytest.param(KEY + f"base_url: http://me:{SECRET}@h/v1", 4, "without credentials", id="base_url with password"),
        pytest.param(KEY + f"base_url: http://h:{SECRET}/v1", 4, "expected an address", id="base_url with odd port"),
        pytest.param(KEY + "project: ${UNSET}", 4, "`project`: UNSET is not set", id="unset in a plain field"),
        pytest.param(KEY + f"proxy: {SECRET}", 4, "`proxy`: expected a proxy's address such as", id="proxy"),
        pytest.param(KEY + "headers: {'X Y': z}", 4, "`headers`: expected the name of an HTTP header", id="header"),
        pytest.param(KEY + "headers: x", 4, "`headers`: expected a mapping", id="headers as text"),
        pytest.param(KEY + "timeout_s: -1", 4, "`timeout_s`: expected a duration above zero", id="timeout_s"),
        pytest.param(KEY + "workers: 0", 4, "`workers`: expected a whole number of at least 1", id="workers"),
        pytest.param(KEY + "concurrency: many", 4, "`concurrency`: expected a whole number", id="concurrency"),
        pytest.param(KEY + "headroom: 120%", 4, "`headroom`: expected a percentage such as", id="headroom"),
        pytest.param(
            KEY + "headroom: 100%",
            4,
            "from 0 to less than 100%",
            id="all headroom",
        ),
        pytest.param(KEY + "requests: 500/min", 4, "`requests`: expected a limit such as 500/minute", id="limit"),
        pytest.param(KEY + "requests:\n    - 5/day\n    - 500", 6, "`requests`: expected a limit", id="limit in list"),
        pytest.param(KEY + "requests: [5/minute, 6/minute]", 4, "two limits for the same window", id="two of a window"),
        pytest.param(KEY + "models: {o1: 5/minute}", 4, "limits of a model: expected for example", id="bare limit"),
        pytest.param(KEY + "models: {o1: {request: 5/minute}}", 4, "did you mean `requests`?", id="limit typo"),
        pytest.param(
            KEY + "models:\n      o1:\n        tokens: x", 6, "`tokens`: expected a limit", id="model's limit"
        ),
        pytest.param(KEY + "models: {o1: }\n    tokens: 5/day", 5, "`tokens` beside `models`", id="both"),
        pytest.param("defaults:\n  name: a\nkeys: [x]\n", 2, "`name` belongs to one key", id="name in defaults"),
        pytest.param("defaults:\n  headrom: 1%\nkeys: [x]\n", 2, "did you mean `headroom`?", id="typo in defaults"),
        pytest.param("defaults:\n  headroom: 2\n" + KEY + "headroom: 1%", 2, "`headroom`: expected", id="replaced"),
        pytest.param(f"keys:\n- name: a\n  api_key: {SECRET}\n b: x", 4, "no valid YAML here", id="bad YAML"),
        pytest.param(f"keys:\n- {{name: a, api_key: ${{{SECRET}}}}}", 2, "may need quotes", id="reference in braces"),
        pytest.param("keys:\n- name: *sk\n", 2, "no valid YAML", id="unknown alias"),
        pytest.param("a: 1\n---\nb: 2\n", 2, "no valid YAML", id="two documents"),
        pytest.param("keys:\n- \x07\n", 2, "a character that YAML doesn't allow", id="control character"),
        pytest.param("keys: " + "[" * 1000, None, "is nested too deeply", id="nested too deeply"),
        pytest.param("keys: [&a {<<: *a, name: b}]\n", 1, "not supported", id="merged into itself"),
        pytest.param(b"keys: \xff\n", None, "is no UTF-8 text", id="no UTF-8"),
        pytest.param("auth_1: {proxy: http://h}\n", 1, "auth_1: `api_key` is missing", id="auth without key"),
        pytest.param("auth_1: {api_key: x, rpm: 5}\n", 1, "unknown field `rpm`", id="auth with unknown field"),
        pytest.param(
            "auth_1:\n  api_key: x\n  requests_per_min: 0\n", 3, "expected a number of at least 1", id="auth 0"
        ),
    ],
)
def test_an_error_names_file_line_and_what_is_expected(
    tmp_path: Path, text: str | bytes, line_number: int | None, message: str
) -> None:
    error = error_of(tmp_path, text)
    assert message in str(error)
    assert error.line_number == line_number


def test_a_duplicate_name_is_refused_with_both_lines(tmp_path: Path) -> None:
    error = error_of(tmp_path, "keys:\n- {name: a, api_key: x}\n- {name: b, api_key: y}\n- {name: a, api_key: z}\n")
    assert error.line_number == 4
    assert "the name a is taken by the key in line 2" in str(error)


@pytest.mark.parametrize("make", ["missing", "directory"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: str) -> None:
    path = tmp_path / "keys.yaml"
    if make == "directory":
        path.mkdir()
    with pytest.raises(KeysFileError, match="can't be read: ") as caught:
        load_keys_file(path, Environment({}))
    assert str(path) in str(caught.value)


def test_the_check_of_variables_names_the_variable_the_key_and_its_line(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n- {name: a, api_key: file:/a}\n- name: b\n  api_key: ${UNSET_KEY}\n")
    keys = load_keys_file(path, Environment({}))
    with pytest.raises(KeysFileError, match=r"line 3: UNSET_KEY is not set.*; key b needs it"):
        check_variables(keys, Environment({}), path)
    with pytest.raises(ConfigurationError, match="UNSET_KEY is not set") as caught:
        check_variables(keys, Environment({}))
    assert caught.value.setting == "UNSET_KEY"
    check_variables(keys, Environment({"UNSET_KEY": "x"}), path)
