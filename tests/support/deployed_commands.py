"""What files of a deployment name of the code: commands with their options, and variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from keyfleet.cli.main import cli

__all__ = ["parsed_command", "unknown_variables"]

PROJECT = Path(__file__).parents[2]

VARIABLE = re.compile(r"\"((?:KEYFLEET|TIKTOKEN)_[A-Z0-9_]+)\"")


def parsed_command(words: Sequence[str]) -> click.Context:
    """A command line, from `keyfleet` on, as the command itself reads it; nothing is run.

    Raises click.UsageError for a command or an option that isn't there.
    """
    program, name, *arguments = words
    if Path(program).name != "keyfleet":
        raise click.UsageError(f"{program} is not keyfleet")
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
        if command is None:
            raise click.UsageError(f"there is no command {name}")
        return command.make_context(name, list(arguments))


def unknown_variables(names: Iterable[str]) -> set[str]:
    """Those of `names` that look like ours and that no source reads."""
    sources = [path for root in ("producer", "workers") for path in (PROJECT / root).rglob("*.py")]
    known = {name for path in sources for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    return {name for name in names if name.startswith(("KEYFLEET", "TIKTOKEN"))} - known
