"""The `keyfleet` command: what it offers, and how errors leave it."""

from __future__ import annotations

from importlib.metadata import entry_points

import click
import pytest
from click.testing import CliRunner

from keyfleet.cli import main as main_module
from keyfleet.cli.main import cli, main
from keyfleet.errors import ConfigurationError
from keyfleet.version import __version__


def exit_code_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr("sys.argv", ["keyfleet", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_the_overview_names_every_command() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in ("demo", "gateway", "init", "jobs", "run", "sim", "worker"):
        assert f"\n  {name} " in result.output


@pytest.mark.parametrize("name", ["demo", "gateway", "init", "jobs", "run", "sim", "worker"])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: cli {name}")


def test_the_worker_command_is_found_through_its_entry_point() -> None:
    (point,) = entry_points(group="keyfleet.commands", name="worker")
    assert point.value.startswith("keyfleet_workers.")
    assert isinstance(cli.get_command(click.Context(cli), "worker"), click.Command)


def test_an_unknown_command_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(monkeypatch, "rnu") == 2
    assert "No such command 'rnu'" in capsys.readouterr().err


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(monkeypatch, "--version") == 0
    assert __version__ in capsys.readouterr().out


def test_an_error_of_ours_is_one_line_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def run() -> None:
        raise ConfigurationError("keys.yaml, line 3: what is wrong")

    monkeypatch.setattr("keyfleet.cli.run.run", run)
    assert exit_code_of(monkeypatch, "run") == 2
    assert capsys.readouterr().err == "keyfleet: keys.yaml, line 3: what is wrong\n"
    assert main_module.USAGE_EXIT == 2


def test_an_interrupt_that_no_command_took_ends_with_the_code_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "get_command", lambda context, name: click.Command(name, callback=interrupted))
    found = CliRunner().invoke(cli, ["run"])
    assert (found.exit_code, found.output) == (130, "interrupted\n")
