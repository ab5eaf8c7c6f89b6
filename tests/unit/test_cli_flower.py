"""The options of `keyfleet flower`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import keyfleet_workers.monitor as package
from keyfleet.cli.main import cli
from keyfleet.errors import ConfigurationError
from keyfleet_workers.monitor import serving
from keyfleet_workers.monitor.application import DEFAULT_MAX_TASKS, FlowerTerms

Served = list[tuple[FlowerTerms, str, int]]
BROKER = ("--broker", "redis://127.0.0.1:9/0")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Served:
    """What Flower would have been started with; commands are typed in an empty directory."""
    found: Served = []
    monkeypatch.setattr(serving, "serve_flower", lambda *given: found.append(given))
    monkeypatch.chdir(tmp_path)
    return found


def typed(*arguments: str, **env: str) -> Result:
    result = CliRunner().invoke(cli, ["flower", *arguments], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_without_options_it_is_for_this_machine_and_asks_nobody(served: Served) -> None:
    assert typed(*BROKER).exit_code == 0
    ((terms, address, port),) = served
    assert (address, port, len(terms.credentials), terms.fleet) == ("127.0.0.1", 5555, 0, "main")
    assert (terms.read_only, terms.max_tasks, terms.url_prefix) == (False, DEFAULT_MAX_TASKS, "")


def test_every_option_reaches_its_place(served: Served, tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("alice:a\nbob:b\n", encoding="utf-8")
    arguments = ["--fleet", "f", "--address", "0.0.0.0", "--port", "0", "--basic-auth-file", "users.txt"]
    arguments += ["--read-only", "--max-tasks", "7", "--url-prefix", "/a/flower/"]
    assert typed(*BROKER, *arguments).exit_code == 0
    ((terms, address, port),) = served
    assert (address, port, len(terms.credentials), terms.fleet) == ("0.0.0.0", 0, 2, "f")
    assert (terms.read_only, terms.max_tasks, terms.url_prefix) == (True, 7, "a/flower")


def test_every_option_is_a_variable_too_which_may_stand_in_dotenv(served: Served, tmp_path: Path) -> None:
    dotenv = "KEYFLEET_FLOWER_READ_ONLY=yes\nKEYFLEET_FLOWER_BASIC_AUTH=alice:a bob:b\n"
    (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
    variables = {"ADDRESS": "::1", "PORT": "81", "MAX_TASKS": "9", "URL_PREFIX": "flower"}
    env = {f"KEYFLEET_FLOWER_{name}": value for name, value in variables.items()}
    assert typed(**env, KEYFLEET_BROKER_URL="redis://127.0.0.1:9/0").exit_code == 0
    ((terms, address, port),) = served
    assert (address, port, terms.max_tasks, terms.url_prefix) == ("::1", 81, 9, "flower")
    assert (terms.read_only, len(terms.credentials)) == (True, 2)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_for_others_a_password_is_made_up_and_printed_once(served: Served, address: str) -> None:
    result = typed(*BROKER, "--address", address)
    ((terms, _, _),) = served
    (pair,) = terms.credentials.pairs()
    user, _, password = pair.partition(":")
    assert result.stderr.count(password) == 1
    assert f"user {user}, password {password}" in result.stderr
    assert password not in result.stdout


def test_under_a_prefix_which_is_for_proxies_a_password_is_made_up_too(served: Served) -> None:
    assert "made up" in typed(*BROKER, "--url-prefix", "/flower").stderr
    assert "made up" not in typed(*BROKER, "--url-prefix", "/").stderr
    assert [len(terms.credentials) for terms, _, _ in served] == [1, 0]


def test_it_needs_a_broker(served: Served) -> None:
    result = typed()
    assert (result.exit_code, "give --broker or KEYFLEET_BROKER_URL" in result.stderr) == (2, True)
    assert served == []


@pytest.mark.parametrize("prefix", ["a b", "a//b", "a?b", "..;/x"])
def test_a_prefix_that_is_no_path_is_refused(served: Served, prefix: str) -> None:
    result = typed(*BROKER, "--url-prefix", prefix)
    assert (result.exit_code, "expected a path" in result.stderr, served) == (2, True, [])


def test_where_flower_is_missing_it_says_what_to_install(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "flower" or name.startswith("flower.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flower", None)
    monkeypatch.delitem(sys.modules, "keyfleet_workers.monitor.required", raising=False)
    monkeypatch.delattr(package, "required", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'keyfleet\[monitor\]'"):
        typed(*BROKER)
    assert served == []
