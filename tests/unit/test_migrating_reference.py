"""docs/migrating.md speaks of variables, options, headers and codes that there are, and of all that matter."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import openai as official
import pytest
from click import Option

from keyfleet.api.reading import ATTEMPTS_HEADER, PRIORITY_HEADER
from keyfleet.cli.run import run
from keyfleet.openai import OpenAI

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "docs" / "migrating.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "producer").rglob("*.py")))
TICKED = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)))

OPENAI_MANAGERS = {
    "ATTEMPTS_PER_PROMPT",
    "COROTINE_PER_AUTH",
    "GLOBAL_NUM_REQUEST_LIMIT",
    "OPENAI_API_KEY…",
    "OPENAI_API_PROXY",
    "OPENAI_GLOBAL_NUM_REQUEST_LIMIT",
    "OPENAI_LOG_LEVEL",
    "OPENAI_PROMPTS_PER_ASYNC_BATCH",
    "OPENAI_REQUESTS_PER_MIN_LIMIT",
    "RATELIMIT_AFTER_SUBMISSION",
    "REQUESTS_PER_MIN_LIMIT",
    "TOKENS_PER_MIN_LIMIT",
}
"""Those of its README and those that its code reads, in release 1.0.0."""

COOKBOOKS = {
    "--requests_filepath",
    "--save_filepath",
    "--request_url",
    "--api_key",
    "--max_requests_per_minute",
    "--max_tokens_per_minute",
    "--token_encoding_name",
    "--max_attempts",
    "--logging_level",
}


def test_every_variable_of_openai_manager_is_told() -> None:
    assert set() == OPENAI_MANAGERS - TICKED


def test_every_variable_that_is_named_is_known_here() -> None:
    named = {name for name in TICKED if re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+", name)}
    assert {name for name in named if name not in SOURCE} == set()


def test_every_option_of_the_cookbooks_script_is_told_and_taken() -> None:
    assert set() == COOKBOOKS - TICKED
    taken = {name for parameter in run.params if isinstance(parameter, Option) for name in parameter.opts}
    assert {name for name in TICKED if re.fullmatch(r"--[a-z_-]+", name)} - taken == set()


@pytest.mark.parametrize("header", [PRIORITY_HEADER, ATTEMPTS_HEADER])
def test_the_headers_are_those_of_the_code(header: str) -> None:
    assert f"`{header}: " in TEXT


def test_every_code_that_is_named_is_one_of_the_code() -> None:
    codes = set(re.findall(r"code `([a-z_]+)`", TEXT))
    assert codes
    assert {code for code in codes if f'"{code}"' not in SOURCE} == set()


def test_every_argument_of_both_clients_is_told() -> None:
    theirs = inspect.signature(official.OpenAI.__init__).parameters
    ours = inspect.signature(OpenAI.__init__).parameters
    arguments = {name for name in {*theirs, *ours} - {"self", "official"} if not name.startswith("_")}
    about_other_things = {"webhook_secret", "websocket_base_url"}
    assert arguments - about_other_things - TICKED == set()
