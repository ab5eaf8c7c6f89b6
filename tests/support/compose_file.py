"""docker-compose.yml as a document, with its variables at their defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import yaml

from keyfleet.cli.main import cli

__all__ = ["COMPOSE_FILE", "PROJECT", "compose_document", "compose_variables", "duration_s", "parse_command"]

PROJECT = Path(__file__).parents[2]

COMPOSE_FILE = PROJECT / "docker-compose.yml"

_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)(?::-([^}]*)|:\?[^}]*)\}")
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


def compose_document(path: Path = COMPOSE_FILE) -> dict[str, Any]:
    """What the file says where no variable is set."""
    text = _VARIABLE.sub(lambda found: found[2] or "", path.read_text(encoding="utf-8"))
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def compose_variables(path: Path = COMPOSE_FILE) -> set[str]:
    """The variables of the shell or `.env` that the file asks for."""
    return {found[1] for found in _VARIABLE.finditer(path.read_text(encoding="utf-8"))}


def duration_s(text: str) -> float:
    """`90s`, `2m` as seconds."""
    return float(text[:-1]) * _UNITS_S[text[-1]]


def parse_command(arguments: list[str]) -> dict[str, Any]:
    """The parameters of the `keyfleet` command that `arguments` name, without running it.

    Raises click.UsageError where the real command would refuse them.
    """
    with click.Context(cli, info_name="keyfleet") as context:
        name, command, rest = cli.resolve_command(context, list(arguments))
        if command is None:
            raise click.UsageError(f"{name} is no command")
        with command.make_context(name, rest, parent=context) as parsed:
            return dict(parsed.params)
