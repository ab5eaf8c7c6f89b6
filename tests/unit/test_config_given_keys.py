"""Keys that a program gives in its own words: as a keys file has them, and their secrets in no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keyfleet.config import Environment, write_given_keys
from keyfleet.errors import ConfigurationError

SECRET, PASSWORD, TOKEN = "sk-made-up-secret", "proxy-password", "header-token"
ENV = Environment({"MY_KEY": "sk-from-the-environment"})


def test_keys_are_written_without_their_secrets_which_go_by_variables(tmp_path: Path) -> None:
    key = {
        "name": "mine",
        "api_key": SECRET,
        "proxy": f"http://me:{PASSWORD}@127.0.0.1:8080",
        "headers": {"X-Team": TOKEN},
        "models": {"m": {"rpm": 5}},
    }
    given = write_given_keys([key, SECRET], ENV, tmp_path / "keys")
    text = given.path.read_text()
    assert not any(secret in text for secret in (SECRET, PASSWORD, TOKEN))
    assert not any(secret in repr(given) for secret in (SECRET, PASSWORD, TOKEN))
    assert (given.path.stat().st_mode & 0o777, given.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    first, second = given.source.keys
    env = ENV.with_values(given.variables)
    assert (first.name, first.api_key.expand(env), list(first.models)) == ("mine", SECRET, ["m"])
    assert first.proxy is not None
    assert PASSWORD in first.proxy.expand(env)
    assert first.headers["X-Team"].expand(env) == TOKEN
    assert (second.name, second.api_key.expand(env)) == ("key-2", SECRET)
    given.remove()
    assert not given.path.exists()


def test_references_stay_what_they_are(tmp_path: Path) -> None:
    given = write_given_keys(["${MY_KEY}", {"api_key": "file:/run/secrets/one"}], ENV, tmp_path)
    assert given.variables == {}
    assert [key.api_key.is_file for key in given.source.keys] == [False, True]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "keys: expected at least one key"),
        (["sk-fine", 7], r"keys\[1\]: expected an API key or a mapping as in a keys file, found int"),
        (["sk-fine", {"api_key": SECRET, "tpn": 1}], r"keys\[1\]: .*tpn"),
        ([{"api_key": SECRET.encode()}], r"keys\[0\]: `api_key`: expected a text, found bytes"),
        ([{"api_key": SECRET, "headers": {"X": 5}}], r"keys\[0\]: `headers: X`: expected a text, found int"),
        ([{"api_key": SECRET, "models": {"m": object()}}], r"keys\[0\]: `models`: expected what a keys file can hold"),
        ([{"name": "one"}], r"keys\[0\]: .*api_key"),
        ([{"api_key": SECRET, "proxy": "nonsense"}], r"keys\[0\]: `proxy`: expected a proxy"),
        (["sk-one", {"name": "key-1", "api_key": SECRET}], r"keys\[1\]: .*key-1"),
    ],
)
def test_a_wrong_key_is_named_by_its_place_and_shown_nowhere(keys: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message) as wrong:
        write_given_keys(keys, ENV, tmp_path)
    assert SECRET not in str(wrong.value)
    assert str(tmp_path) not in str(wrong.value)
    assert list(tmp_path.iterdir()) == []
