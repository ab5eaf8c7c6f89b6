"""Where the keys of openai-manager's calls come from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from keyfleet.config import Environment
from keyfleet.config.given_keys import write_given_keys
from keyfleet.errors import ConfigurationError, KeysFileError
from keyfleet.openai_manager import session
from keyfleet.openai_manager.session import Session, append_auth_from_config

AUTHS = """
auth1:
  api_key: sk-first
  proxy: http://127.0.0.1:7890
  requests_per_min: 20
  tokens_per_min: 40_000
auth2:
  api_key: ${OTHER_KEY}
  proxy:
"""


class Made:
    """Stands for a Fleet."""

    def __init__(self, keys: Any) -> None:
        self.keys = keys
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Made]:
    """The fleets that were made. Each test has a session, a directory and an environment of its own."""
    fleets: list[Made] = []

    def make(*, keys: Any = None) -> Made:
        fleets.append(Made(keys))
        return fleets[-1]

    monkeypatch.setattr(session, "Fleet", make)
    monkeypatch.setattr(session, "SESSION", Session())
    monkeypatch.chdir(tmp_path)
    return fleets


def keys_in_use() -> Any:
    return session.SESSION.fleet().keys  # type: ignore[attr-defined]


def test_without_more_keys_it_is_a_fleet_as_any_other(made: list[Made]) -> None:
    assert keys_in_use() is None
    assert session.SESSION.fleet() is session.SESSION.fleet()
    assert len(made) == 1


def test_the_yaml_file_of_openai_manager_adds_its_keys(tmp_path: Path) -> None:
    (tmp_path / "auths.yml").write_text(AUTHS, encoding="utf-8")
    append_auth_from_config(config_path="auths.yml")
    assert keys_in_use() == [
        {"name": "auth1", "api_key": "sk-first", "proxy": "http://127.0.0.1:7890", "rpm": 20, "tpm": 40_000},
        {"name": "auth2", "api_key": "${OTHER_KEY}"},
    ]


def test_keys_of_the_environment_come_first_and_stay_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_1", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_API_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_PER_MIN_LIMIT", "9")
    (tmp_path / ".env").write_text("OPENAI_API_KEY_2=sk-of-dotenv\n", encoding="utf-8")
    append_auth_from_config(config_dicts=[{"api_key": "sk-third"}])
    shared = {"proxy": "${OPENAI_API_PROXY}", "base_url": "https://api.openai.com/v1", "rpm": 9}
    assert keys_in_use() == [
        {"name": "key-1", "api_key": "${OPENAI_API_KEY_1}", **shared},
        {"name": "key-2", "api_key": "${OPENAI_API_KEY_2}", **shared},
        {"name": "auth1", "api_key": "sk-third", "rpm": 9},
    ]


def test_the_limit_of_images_of_the_environment_holds_unless_a_key_has_limits_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYFLEET_IMAGES_PER_MINUTE", "7")
    own = {"api_key": "sk-2", "name": "mine", "images": "5/second"}
    append_auth_from_config(config_dicts=[{"api_key": "sk-1"}, own])
    assert keys_in_use() == [{"name": "auth1", "api_key": "sk-1", "ipm": 7}, own]


def test_dictionaries_may_have_limits_and_fields_of_a_keys_file() -> None:
    given: list[dict[str, Any]] = [
        {"api_key": "sk-1", "proxy": None, "requests_per_min": 5},
        {"api_key": "sk-2", "name": "mine", "models": {"gpt-4o": {"rpm": 3}}},
    ]
    append_auth_from_config(config_dicts=given)
    assert keys_in_use() == [
        {"name": "auth1", "api_key": "sk-1", "rpm": 5},
        {"name": "mine", "api_key": "sk-2", "models": {"gpt-4o": {"rpm": 3}}},
    ]


def test_an_address_in_the_environment_is_that_of_all_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:8080/v1")
    (tmp_path / "auths.yml").write_text(AUTHS, encoding="utf-8")
    append_auth_from_config(config_path="auths.yml", config_dicts=[{"api_key": "sk-3"}])
    assert [key["base_url"] for key in keys_in_use()] == ["http://127.0.0.1:8080/v1"] * 3


def test_the_keys_are_such_as_a_fleet_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0")
    monkeypatch.setenv("OPENAI_API_KEY_PATH_FILE", "/run/secrets/key")
    monkeypatch.setenv("TOKENS_PER_MIN_LIMIT", "1000")
    (tmp_path / "auths.yml").write_text(AUTHS, encoding="utf-8")
    append_auth_from_config(config_path=tmp_path / "auths.yml", config_dicts=[{"api_key": "sk-3"}, {"api_key": "sk-4"}])
    loaded = write_given_keys(keys_in_use(), Environment.read(), tmp_path / "state").source.keys
    assert [key.name for key in loaded][-4:] == ["auth1", "auth2", "auth1-2", "auth2-2"]
    assert all(key.limits is not None and key.limits.tokens for key in loaded)


def test_keys_that_are_added_later_are_used_by_the_next_call(made: list[Made]) -> None:
    append_auth_from_config(config_dicts=[{"api_key": "sk-1"}])
    session.SESSION.fleet()
    append_auth_from_config(config_dicts=[{"api_key": "sk-2"}])
    assert [key["api_key"] for key in keys_in_use()] == ["sk-1", "sk-2"]
    assert [one.is_closed for one in made] == [True, False]


def test_a_file_that_is_not_openai_managers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n- {name: a, api_key: sk-1}\n", encoding="utf-8")
    with pytest.raises(KeysFileError, match=r"keys\.yaml: expected openai-manager's `auth…` sections"):
        append_auth_from_config(config_path=path)


def test_a_wrong_file_is_told_with_its_line_and_without_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "auths.yml"
    path.write_text("auth1:\n  api_key: sk-secret\n  requests_per_min: none\n", encoding="utf-8")
    with pytest.raises(KeysFileError, match=r"auths\.yml, line 3: `requests_per_min`") as caught:
        append_auth_from_config(config_path=path)
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(KeysFileError, match=r"missing\.yml"):
        append_auth_from_config(config_path=tmp_path / "missing.yml")


@pytest.mark.parametrize("wrong", [{"proxy": "http://x"}, "sk-secret", {"api_key": 5}])
def test_a_dictionary_without_a_key_is_refused(wrong: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"config_dicts\[1\]: expected a dictionary with an `api_key`"
    ) as caught:
        append_auth_from_config(config_dicts=[{"api_key": "sk-1"}, wrong])
    assert "sk-" not in str(caught.value)


def test_the_log_level_of_openai_manager_is_that_of_keyfleet(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("keyfleet")
    monkeypatch.setattr(logger, "level", logger.level)
    monkeypatch.setenv("OPENAI_LOG_LEVEL", "10")
    session.SESSION.fleet()
    assert logger.level == 10
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("dicts", "message"),
    [
        ([{"api_key": "sk-x", "reqests_per_min": 9}], "reqests_per_min"),
        ({"api_key": "sk-x"}, "config_dicts: expected a list of dictionaries, found one"),
    ],
)
def test_wrong_keys_are_refused_where_they_are_appended_and_change_nothing(dicts: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        append_auth_from_config(config_dicts=dicts)
    append_auth_from_config(config_dicts=[{"api_key": "sk-good"}])
    assert [key["api_key"] for key in keys_in_use()] == ["sk-good"]
