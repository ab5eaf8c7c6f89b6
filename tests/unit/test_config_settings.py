"""Settings: KEYFLEET_* first, then the variables of openai-manager, in one frozen object."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import pytest

from keyfleet.broker import connect
from keyfleet.config import Environment, Settings
from keyfleet.errors import ConfigurationError


def settings(**values: str) -> Settings:
    return Settings.from_environment(Environment({"HOME": "/home/me", **values}))


def test_without_variables_every_setting_has_its_default() -> None:
    assert settings() == Settings(state_dir=Path("/home/me/.local/state/keyfleet"))
    assert (settings().lease_s, settings().max_attempts, settings().timeout_s) == (30.0, 5, 600.0)
    assert (settings().timeout_attempts, settings().connect_timeout_s, settings().concurrency) == (2, 10.0, None)


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("KEYFLEET_BROKER_URL", "redis://h:1/2", "broker_url", "redis://h:1/2"),
        ("KEYFLEET_BROKER", "unix:///r.sock", "broker_url", "unix:///r.sock"),
        ("KEYFLEET_BROKER_PASSWORD_FILE", "/run/secrets/p", "broker_password_path", Path("/run/secrets/p")),
        ("KEYFLEET_FLEET", "team_a-1", "fleet", "team_a-1"),
        ("KEYFLEET_KEYS", "/etc/keys.yaml", "keys_path", Path("/etc/keys.yaml")),
        ("KEYFLEET_STATE_DIR", "/var/keyfleet", "state_dir", Path("/var/keyfleet")),
        ("XDG_STATE_HOME", "/state", "state_dir", Path("/state/keyfleet")),
        ("XDG_STATE_HOME", "relative", "state_dir", Path("/home/me/.local/state/keyfleet")),
        ("KEYFLEET_LEASE_S", "2.5", "lease_s", 2.5),
        ("KEYFLEET_LOG_LEVEL", "debug", "log_level", logging.DEBUG),
        ("OPENAI_LOG_LEVEL", "20", "log_level", logging.INFO),
        ("KEYFLEET_LOG_FORMAT", "JSON", "log_format", "json"),
        ("KEYFLEET_METRICS_PORT", "9464", "metrics_port", 9464),
        ("KEYFLEET_METRICS_ADDRESS", "0.0.0.0", "metrics_address", "0.0.0.0"),
        ("KEYFLEET_USE", "70%", "use", 0.7),
        ("KEYFLEET_MAX_ATTEMPTS", "7", "max_attempts", 7),
        ("ATTEMPTS_PER_PROMPT", "7", "max_attempts", 7),
        ("KEYFLEET_TIMEOUT", "10m", "timeout_s", 600.0),
        ("KEYFLEET_TIMEOUT_S", "5", "timeout_s", 5.0),
        ("KEYFLEET_CONNECT_TIMEOUT", "3s", "connect_timeout_s", 3.0),
        ("KEYFLEET_TIMEOUT_ATTEMPTS", "1", "timeout_attempts", 1),
        ("KEYFLEET_CONCURRENCY", "64", "concurrency", 64),
        ("COROTINE_PER_AUTH", "3", "concurrency", 3),
        ("KEYFLEET_MAX_CALLS", "9", "max_calls", 9),
        ("OPENAI_GLOBAL_NUM_REQUEST_LIMIT", "500", "max_calls", 500),
        ("GLOBAL_NUM_REQUEST_LIMIT", "500", "max_calls", 500),
        ("KEYFLEET_GUARD_MS", "0", "guard_ms", 0),
        ("KEYFLEET_GUARD_SHARE", "1%", "guard_share", 0.01),
        ("KEYFLEET_GIVE_UP_AFTER", "2h", "give_up_after_s", 7200.0),
        ("KEYFLEET_NO_KEY_GRACE", "3s", "no_key_grace_s", 3.0),
        ("KEYFLEET_WORKERS", "no", "workers", False),
        ("KEYFLEET_ORDERED", "1", "ordered", True),
        ("KEYFLEET_PROGRESS", "false", "progress", False),
        ("KEYFLEET_STOP_EARLY", "off", "stop_early", False),
        ("KEYFLEET_PACK", "yes", "pack", True),
        ("KEYFLEET_PACK_INPUTS", "32", "pack_inputs", 32),
    ],
)
def test_a_variable_sets_its_setting(name: str, text: str, field: str, value: object) -> None:
    changed = settings(**{name: text})
    assert getattr(changed, field) == value
    assert dataclasses.replace(changed, **{field: getattr(settings(), field)}) == settings(), "nothing else changes"


def test_variables_of_openai_manager_without_a_meaning_here_are_accepted() -> None:
    assert settings(RATELIMIT_AFTER_SUBMISSION="False", OPENAI_PROMPTS_PER_ASYNC_BATCH="1000") == settings()


def test_a_variable_of_keyfleet_wins_over_the_one_of_openai_manager() -> None:
    assert settings(KEYFLEET_MAX_ATTEMPTS="2", ATTEMPTS_PER_PROMPT="9").max_attempts == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KEYFLEET_BROKER_URL", "amqp://me:hunter2@h"),
        ("KEYFLEET_BROKER_URL", "hunter2"),
        ("KEYFLEET_FLEET", "a team"),
        ("KEYFLEET_FLEET", "a" * 41),
        ("KEYFLEET_LEASE_S", "0.1"),
        ("KEYFLEET_LEASE_S", "inf"),
        ("KEYFLEET_LEASE_S", "hunter2"),
        ("KEYFLEET_LOG_LEVEL", "loud"),
        ("OPENAI_LOG_LEVEL", "60"),
        ("KEYFLEET_LOG_FORMAT", "hunter2"),
        ("KEYFLEET_METRICS_PORT", "70000"),
        ("KEYFLEET_METRICS_PORT", "hunter2"),
        ("KEYFLEET_USE", "70"),
        ("KEYFLEET_MAX_ATTEMPTS", "none"),
        ("KEYFLEET_WORKERS", "perhaps"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: expected ") as caught:
        settings(**{name: text})
    assert caught.value.setting == name
    assert text not in str(caught.value).replace("70%", "")
    assert "hunter2" not in str(caught.value)


def test_settings_are_frozen_and_repr_hides_the_broker() -> None:
    made = settings(KEYFLEET_BROKER_URL="redis://:hunter2@h")
    assert "hunter2" not in repr(made)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.fleet = "other"  # type: ignore[misc]


def test_an_option_that_was_given_wins_and_one_that_was_not_changes_nothing() -> None:
    made = settings(KEYFLEET_CONCURRENCY="8").with_options(concurrency=None, max_attempts=2, ordered=True)
    assert (made.concurrency, made.max_attempts, made.ordered) == (8, 2, True)


PASSWORD = "a/b@c:d"
ENCODED = "a%2Fb%40c%3Ad"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:6379/0", f"redis://:{ENCODED}@h:6379/0"),
        ("rediss://h?db=2", f"rediss://:{ENCODED}@h?db=2"),
        ("redis://user@h", f"redis://user:{ENCODED}@h"),
        ("redis://user:@h/1", f"redis://user:{ENCODED}@h/1"),
        ("unix:///run/r.sock?db=1", f"unix://:{ENCODED}@/run/r.sock?db=1"),
        ("redis://:own@h/0", "redis://:own@h/0"),
        ("redis://h/0?password=own", "redis://h/0?password=own"),
    ],
)
def test_an_address_without_a_password_gets_the_one_in_the_file(tmp_path: Path, url: str, expected: str) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    found = settings(KEYFLEET_BROKER_URL=url, KEYFLEET_BROKER_PASSWORD_FILE=str(path))
    given = settings(KEYFLEET_BROKER_PASSWORD_FILE=str(path)).with_options(broker_url=url)
    assert found.broker_url == given.broker_url == expected
    assert connect(expected).connection_pool.connection_kwargs["password"] == ("own" if "own" in url else PASSWORD)
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize(("text", "problem"), [(None, "can't be read (FileNotFoundError)"), (" \n", "is empty")])
def test_a_file_without_a_password_is_named_once_it_is_needed(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "password"
    if text is not None:
        path.write_text(text)
    assert settings(KEYFLEET_BROKER_PASSWORD_FILE=str(path)).broker_url is None
    with pytest.raises(ConfigurationError, match=re.escape(problem)) as caught:
        settings(KEYFLEET_BROKER_PASSWORD_FILE=str(path), KEYFLEET_BROKER_URL="redis://h/0")
    assert caught.value.setting == "KEYFLEET_BROKER_PASSWORD_FILE"
    assert str(path) in str(caught.value)
