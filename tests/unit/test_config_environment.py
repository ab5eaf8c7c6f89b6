"""Environment: os.environ over .env, and errors that name the variable but never its value."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from keyfleet.config import Environment
from keyfleet.errors import ConfigurationError

SECRET = "sk-very-secret"


def dotenv(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Environment:
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    return Environment.read(cwd=tmp_path, environ=environ or {})


def test_the_environment_wins_over_the_dotenv_file(tmp_path: Path) -> None:
    env = dotenv(tmp_path, "A=file\nB=file\n", {"A": "environ"})
    assert (env.get("A"), env.get("B")) == ("environ", "file")
    assert (env.is_from_dotenv("A"), env.is_from_dotenv("B")) == (False, True)


def test_a_variable_set_to_nothing_hides_the_one_in_the_dotenv_file(tmp_path: Path) -> None:
    assert dotenv(tmp_path, "A=file\n", {"A": ""}).get("A") is None


def test_what_the_dotenv_file_holds_does_not_reach_the_process_environment(tmp_path: Path) -> None:
    dotenv(tmp_path, "KEYFLEET_TEST_ONLY=1\n")
    assert "KEYFLEET_TEST_ONLY" not in os.environ


def test_exports_quotes_comments_crlf_and_a_bom_are_read_as_python_dotenv_reads_them(tmp_path: Path) -> None:
    env = dotenv(tmp_path, "\ufeffexport A=1 # one\r\nB='two words'\r\n\r\n# none\r\nC=${A}${X}\r\n", {"X": "x"})
    assert [env.get(name) for name in "ABC"] == ["1", "two words", "1x"]


def test_an_odd_line_is_passed_over_with_a_warning_that_names_file_and_line_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = dotenv(tmp_path, f"A=1\n\n{SECRET}\nB='{SECRET}\nC=3\n")
    assert (env.get("A"), env.get("C")) == ("1", "3")
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        f"{tmp_path / '.env'}, line 3",
        f"{tmp_path / '.env'}, line 4",
    ]
    assert SECRET not in caplog.text


@pytest.mark.parametrize("content", [b"A=\xff\xfe\n", None])
def test_an_unreadable_dotenv_file_is_a_warning_that_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = tmp_path / ".env"
    path.mkdir() if content is None else path.write_bytes(content)
    assert Environment.read(cwd=tmp_path, environ={"A": "1"}).get("A") == "1"
    assert [(record.levelno, str(path) in record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, True)
    ]


def test_no_dotenv_file_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Environment.read(cwd=tmp_path, environ={})
    assert not caplog.records


def test_the_first_name_that_is_set_counts() -> None:
    env = Environment({"A": " ", "B": " b ", "C": "c"})
    assert env.get("A", "B", "C") == "b"
    assert env.first_set("A", "B", "C") == "B"
    assert env.get("A") is None
    assert "A" not in env
    assert env.is_defined("A")


def test_names_are_found_by_prefix_in_order_without_blank_ones() -> None:
    env = Environment({"P_2": "x", "P": "x", "P_1": "", "Q": "x"})
    assert env.names_starting_with("P") == ["P", "P_2"]


@pytest.mark.parametrize(
    ("getter", "text", "value"),
    [
        (Environment.get_int, "5", 5),
        (Environment.get_float, "1500.0", 1500.0),
        (Environment.get_bool, "Yes", True),
        (Environment.get_bool, "off", False),
        (Environment.get_duration_s, "10m", 600.0),
        (Environment.get_percentage, "70%", 0.7),
    ],
)
def test_a_typed_getter_reads_its_type(getter: Callable[..., object], text: str, value: object) -> None:
    assert getter(Environment({"A": text}), "A", default=None) == value
    assert getter(Environment({}), "A", default="default") == "default"


@pytest.mark.parametrize(
    ("getter", "text"),
    [
        (Environment.get_int, SECRET),
        (Environment.get_int, "0"),
        (Environment.get_int, "1.5"),
        (Environment.get_float, SECRET),
        (Environment.get_float, "nan"),
        (Environment.get_float, "-1"),
        (Environment.get_bool, SECRET),
        (Environment.get_duration_s, SECRET),
        (Environment.get_percentage, SECRET),
        (Environment.get_percentage, "120%"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable_and_not_the_value(
    getter: Callable[..., object], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"^MY_SETTING: expected ") as caught:
        getter(Environment({"MY_SETTING": text}), "OTHER", "MY_SETTING", default=None)
    assert caught.value.setting == "MY_SETTING"
    assert text not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a chained ValueError would show the value in a traceback"


def test_nothing_shows_in_repr_and_nothing_is_pickled() -> None:
    env = Environment({"OPENAI_API_KEY": SECRET})
    assert repr(env) == "Environment(1 variables)"
    assert not hasattr(env, "__dict__")
    with pytest.raises(TypeError, match="secrets"):
        pickle.dumps(env)
