"""docs/configuration.md: its tables are what the code says, and its prose names what there is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from keyfleet import Fleet
from keyfleet.config import DEFAULT_AZURE_API_VERSION, Environment, Settings, load_keys_file
from keyfleet.config.environment_keys import BASE_URL, KEY_PREFIX, ORGANIZATION, PROJECT, PROXY_PREFIX
from keyfleet.config.keyfile import TOP_FIELDS
from keyfleet.config.openai_manager import IMAGES_PER_MINUTE, REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE
from keyfleet.gateway.terms import GatewayTerms

PROJECT_ROOT = Path(__file__).parents[2]
TEXT = (PROJECT_ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

VARIABLE = re.compile(r"\"(KEYFLEET_[A-Z0-9_]+)\"")


@pytest.fixture(autouse=True)
def docs_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no part of the installed package."""
    monkeypatch.syspath_prepend(str(PROJECT_ROOT))


def reference(name: str) -> ModuleType:
    return import_module(f"docs.reference.{name}")


def section(title: str) -> str:
    """What stands under a heading of the second order."""
    return re.split(r"^## ", TEXT.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def variables_of_the_source() -> set[str]:
    sources = [path for root in ("producer", "workers") for path in (PROJECT_ROOT / root).rglob("*.py")]
    return {name for path in sources for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}


def test_its_tables_are_those_that_the_code_makes() -> None:
    assert reference("page").filled(TEXT) == TEXT, "the code says otherwise by now: `make reference`"


def test_a_page_that_lacks_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="expected each of these parts once"):
        reference("page").filled(TEXT.replace("made by `make reference`: settings", "made by hand"))


def test_every_variable_is_named_and_no_other() -> None:
    named = set(re.findall(r"`(KEYFLEET_[A-Z0-9_]+)`", TEXT))
    assert named == variables_of_the_source()


def test_every_setting_has_a_variable_and_each_variable_one_setting() -> None:
    found = reference("settings").setting_variables()
    assert sorted(setting.field for setting in found.values()) == sorted(one.name for one in fields(Settings))


def test_every_field_at_the_top_of_a_keys_file_is_shown() -> None:
    assert [field for field in TOP_FIELDS if f"\n{field}:" not in TEXT] == []


def test_a_default_in_an_options_help_is_that_of_its_setting() -> None:
    options = reference("command_options")
    defaults = {
        **{one.name: one.default for one in fields(GatewayTerms)},
        **{setting.field: setting.default for setting in reference("settings").setting_variables().values()},
    }
    checked = set()
    for command in options.every_command().values():
        for option in options.shown_options(command):
            said, default = options.option_default(option), defaults.get(option.name or "")
            if said is not None and default is not None:
                assert parsed(command, option, said) == default, option.name
                checked.add(option.name)
    assert {"timeout_s", "max_attempts", "pack_inputs", "stop_early", "shutdown_timeout_s", "max_body_bytes"} < checked


def parsed(command: click.Command, option: click.Option, said: str) -> Any:
    """What the option makes of the default that its help names."""
    return option.process_value(click.Context(command), said.partition(";")[0])


def test_the_default_version_of_azures_interface_is_that_of_the_code() -> None:
    assert f"| `{DEFAULT_AZURE_API_VERSION}` |" in TEXT


def test_every_variable_of_keys_without_a_file_is_told() -> None:
    names = {*BASE_URL, *ORGANIZATION, *PROJECT, *REQUESTS_PER_MINUTE, *TOKENS_PER_MINUTE, *IMAGES_PER_MINUTE}
    told = set(re.findall(r"`([A-Z][A-Z_]+…?)`", section("Keys without a file")))
    assert {*names, PROXY_PREFIX, f"{PROXY_PREFIX}…", f"{KEY_PREFIX}…"} - told == set()


@pytest.mark.parametrize("method", [Fleet.submit, Fleet.map, Fleet.call, Fleet.stream, Fleet.send, Fleet.send_stream])
def test_every_argument_in_python_is_told_with_its_default(method: Callable[..., Any]) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", arguments_of(method.__name__), re.MULTILINE))
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        assert name in rows
        if parameter.default is not None:
            assert rows[name] == f"`{parameter.default!r}`".replace("'", '"')


def arguments_of(method: str) -> str:
    """The part of the section on Python that is about a method."""
    calls = section("In Python").index("\nCalls (")
    text = section("In Python")
    return text[:calls] if method in ("submit", "map") else text[calls:]


def test_every_argument_of_a_fleet_is_told() -> None:
    (signature,) = re.findall(r"`Fleet\(([^)]*)\)`", section("In Python"))
    told = [name.strip().rstrip("=") for name in signature.split(",")]
    assert told == [name for name in inspect.signature(Fleet).parameters if name != "self"]


def test_the_example_reads(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "keys.yaml").write_text(example, encoding="utf-8")
    research, azure = load_keys_file(tmp_path / "keys.yaml", Environment({}))
    assert [pool.scope for pool in research.pools_for("gpt-4o-2024-08-06")] == ["gpt-4o*", "gpt-4o"]
    assert azure.settings_for("gpt-4o").alias == "gpt4o-prod"
    assert research.headroom == azure.headroom == 0.2
