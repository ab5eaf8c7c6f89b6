"""Secrets in a worker: read where they are referred to, shown nowhere, told apart by a fingerprint."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from pathlib import Path

import pytest

from keyfleet.config import Environment, SecretReference
from keyfleet.errors import ConfigurationError
from keyfleet_workers.secrets import MAX_SECRET_BYTES, Secret, fingerprint, resolve, resolve_proxy

SECRET = "sk-very-secret"
OPENAI = "https://api.openai.com/v1"


def resolved(text: str, **variables: str) -> str:
    return resolve(SecretReference(text), Environment(variables)).reveal()


def failure(text: str, **variables: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        resolve(SecretReference(text), Environment(variables))
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    return caught.value


def test_a_literal_a_variable_and_a_mixture_are_resolved() -> None:
    assert resolved(SECRET) == SECRET
    assert resolved("${A}", A=f" {SECRET}\n") == SECRET
    assert resolved("http://me:${A}@host", A=SECRET) == f"http://me:{SECRET}@host"


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f"  {SECRET}\r\n", f"\ufeff{SECRET}\n"])
def test_a_file_is_read_without_what_editors_leave_around(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content, encoding="utf-8")
    assert resolved(f"file:{path}") == SECRET
    assert resolved("file:${KEY_FILE}", KEY_FILE=str(path)) == SECRET


def test_a_variable_from_the_dotenv_file_is_resolved(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"A={SECRET}\n")
    env = Environment.read(cwd=tmp_path, environ={})
    assert resolve(SecretReference("${A}"), env).reveal() == SECRET


def test_an_unset_variable_is_named() -> None:
    error = failure("${UNSET_KEY}")
    assert str(error).startswith("UNSET_KEY is not set")
    assert error.setting == "UNSET_KEY"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert f"the file {tmp_path}/gone can't be read: No such file" in str(failure(f"file:{tmp_path}/gone"))
    assert f"the file {tmp_path} can't be read: " in str(failure(f"file:{tmp_path}"))


@pytest.mark.parametrize("value", [SECRET, f"{SECRET}\0x"])
def test_a_secret_where_a_path_was_meant_is_not_shown(value: str) -> None:
    error = failure("file:${OPENAI_API_KEY_PATH}", OPENAI_API_KEY_PATH=value)
    assert "the file that OPENAI_API_KEY_PATH names can't be read" in str(error)


def test_a_file_that_is_no_text_or_far_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe\xff")
    assert "it is no text" in str(failure(f"file:{path}"))
    path.write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    assert f"larger than {MAX_SECRET_BYTES} bytes" in str(failure(f"file:{path}"))


@pytest.mark.parametrize(
    "value", [f"{SECRET}\nX-Admin: 1", f"{SECRET}\r\n\r\nx", f"a\0{SECRET}", f"{SECRET}\x7fa", f"é{SECRET}"]
)
def test_a_value_that_could_break_out_of_a_header_is_refused_without_showing_it(value: str) -> None:
    assert "the secret from A holds control characters" in str(failure("${A}", A=value))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\n")
    assert f"the secret from the file {path} is empty" in str(failure(f"file:{path}"))


@pytest.mark.parametrize(
    ("value", "url"),
    [("http://me:pw@h:1", "http://me:pw@h:1"), ("h:8080", "http://h:8080"), ("socks5h://h:1", "socks5h://h:1")],
)
def test_a_proxy_without_a_scheme_is_an_http_proxy(value: str, url: str) -> None:
    assert resolve_proxy(SecretReference("${P}"), Environment({"P": value})).reveal() == url


@pytest.mark.parametrize("value", [f"ftp://me:{SECRET}@h", f"http://h:{SECRET}", f"me:{SECRET}@"])
def test_a_wrong_proxy_is_named_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError, match="the proxy from P: expected a proxy's address") as caught:
        resolve_proxy(SecretReference("${P}"), Environment({"P": value}))
    assert caught.value.setting == "P"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_only_reveal_gives_a_secret_away() -> None:
    secret = Secret(SECRET)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), repr(copy.deepcopy(secret))]
    shown.append(json.dumps(secret, default=str))
    assert not [text for text in shown if SECRET in text]
    assert repr(secret) == str(secret) == "***"
    assert secret.reveal() == SECRET
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        vars(secret)


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_fingerprint_is_the_same_everywhere_and_shows_neither_secret_nor_host() -> None:
    made = fingerprint(Secret(SECRET), OPENAI)
    assert made == "e624b5c065a1b7f5", "hosts of different releases must agree on it"
    assert len(made) == 16


@pytest.mark.parametrize(
    "base_url",
    [
        "https://API.openai.com",
        "https://api.openai.com:443/v1/",
        "http://api.openai.com:80/v2",
        "https://api.openai.com./v1",
    ],
)
def test_one_secret_at_one_host_has_one_fingerprint_however_the_address_is_written(base_url: str) -> None:
    assert fingerprint(Secret(SECRET), base_url) == fingerprint(Secret(SECRET), OPENAI)


def test_another_secret_host_or_port_has_another_fingerprint() -> None:
    made = {
        fingerprint(Secret(SECRET), OPENAI),
        fingerprint(Secret(SECRET + "2"), OPENAI),
        fingerprint(Secret(SECRET), "https://api.example.com/v1"),
        fingerprint(Secret(SECRET), "http://127.0.0.1:8001/v1"),
        fingerprint(Secret(SECRET), "http://127.0.0.1:8002/v1"),
    }
    assert len(made) == 5
