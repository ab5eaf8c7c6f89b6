"""Who may use the gateway: its own API keys, and this machine alone where there are none."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from keyfleet.config import Environment
from keyfleet.errors import ConfigurationError
from keyfleet.gateway import ApiKeys
from support.gateway_case import KEY, ask
from support.serving_fleet import ServedFleet

NOWHERE = Environment({})


def key_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "api-keys.txt"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer   {KEY} "},
        {"authorization": "", "api-key": KEY},
        {"authorization": "Basic abc", "api-key": KEY},
    ],
)
def test_a_key_is_taken_as_openais_and_azures_clients_send_it(headers: dict[str, str]) -> None:
    assert ask(ServedFleet(), headers=headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer sk-wrong"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": "Bearer \xff\xfe"},
        {"authorization": "", "api-key": "sk-wrong"},
        {"authorization": "", "api-key": ""},
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/gpt", "/openapi.json"])
def test_a_wrong_key_is_refused_and_not_shown(headers: dict[str, str], path: str) -> None:
    fleet = ServedFleet()
    answered = ask(fleet, path, method="POST" if "chat" in path else "GET", headers=headers)
    assert (answered.status, answered.error["code"]) == (401, "invalid_api_key")
    assert answered.headers["www-authenticate"] == "Bearer"
    assert "sk-wrong" not in answered.body.decode()
    assert not fleet.sent


def test_the_key_is_looked_at_before_the_body() -> None:
    answered = ask(ServedFleet(), body=b"no JSON", headers={"authorization": "", "content-type": "text/plain"})
    assert answered.status == 401


def test_every_one_of_several_keys_is_taken() -> None:
    for key in ("one", "two", "three"):
        headers = {"authorization": f"Bearer {key}"}
        assert ask(ServedFleet(), headers=headers, keys=("one", "two", "three")).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8000", 200),
        ("127.1.2.3", 200),
        ("[::1]:8000", 200),
        ("attacker.test:8000", 403),
        ("127.0.0.1.attacker.test", 403),
        ("localhost.attacker.test", 403),
        ("192.168.1.2", 403),
        ("[::2]", 403),
    ],
)
def test_without_keys_no_web_page_gets_in_by_a_name_that_leads_here(host: str, status: int) -> None:
    headers = {"authorization": "", "host": host}
    assert ask(ServedFleet(), headers=headers, keys=()).status == status
    if status == 403:
        assert ask(ServedFleet(), headers={"host": host}).status == 200


def test_keys_come_from_files_and_the_environment(tmp_path: Path) -> None:
    path = key_file(tmp_path, "# of the team\n\nfile-1\n  file-2  \n")
    env = Environment({"KEYFLEET_GATEWAY_API_KEYS": "env-1, env-2\nenv-3,,"})
    keys = ApiKeys.find([path, path], env, ["given"])
    assert len(keys) == 6
    assert all(keys.accept(key) for key in (b"file-1", b"file-2", b"env-1", b"env-2", b"env-3", b"given"))
    assert not any(keys.accept(key) for key in (b"", b"#", b"# of the team", b"file", b"env-1, env-2"))


def test_nothing_but_hashes_is_kept() -> None:
    keys = ApiKeys(["very-secret"])
    assert "very-secret" not in repr(keys)
    assert b"very-secret" not in b"".join(keys._digests)


@pytest.mark.parametrize("text", ["", "# nothing\n", "good-one\ntwo words\n", "good-one\ncaf\u00e9\n", "a\x00b\n"])
def test_a_file_that_holds_no_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = key_file(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        ApiKeys.find([path], NOWHERE)
    assert str(caught.value).startswith(f"--api-key-file: {path}")
    assert not any(word in str(caught.value) for word in ("two", "caf", "good-one"))


@pytest.mark.parametrize("make", ["missing", "directory", "binary"])
def test_a_file_that_cant_be_read_is_named(tmp_path: Path, make: str) -> None:
    path = tmp_path / "keys"
    if make == "directory":
        path.mkdir()
    elif make == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=f"{path} can't be read"):
        ApiKeys.find([path], NOWHERE)


def test_keys_of_the_environment_are_checked_too() -> None:
    with pytest.raises(ConfigurationError, match="KEYFLEET_GATEWAY_API_KEYS: expected") as caught:
        ApiKeys.find([], Environment({"KEYFLEET_GATEWAY_API_KEYS": "good caf\u00e9"}))
    assert "caf" not in str(caught.value)


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        ApiKeys.find([key_file(tmp_path, "secret-1\n", mode)], NOWHERE)
    assert ("chmod 600" in caplog.text) == warns
    assert "secret-1" not in caplog.text
