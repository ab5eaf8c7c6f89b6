"""The options of every command, as click knows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import click

from docs.reference.field_docs import split_default
from docs.reference.markdown import NOTHING, as_code, quoted, table
from docs.reference.settings import WRONG, default_text, expected_of, setting_variables, variables_cell
from keyfleet.cli.main import cli

__all__ = [
    "commands_text",
    "every_command",
    "option_default",
    "option_variables",
    "shared_options_table",
    "shown_options",
]

_LITERAL = re.compile(r"\S*[\d._]\S*")
"""A default that is a value, and no word that tells of one."""

HEAD = ("option", "variable", "value", "default", "meaning")


@cache
def every_command() -> dict[str, click.Command]:
    """Every command by its words behind `keyfleet`; `jobs list` and `keys list` are `jobs` and `keys`."""
    return dict(_commands_of(cli, ()))


def _commands_of(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    if command.invoke_without_command:
        yield " ".join(words), command
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not (command.invoke_without_command and name == "list"):
            yield from _commands_of(found, (*words, name))


def shown_options(command: click.Command) -> list[click.Option]:
    """The options that `--help` shows, in its order."""
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def option_variables() -> frozenset[str]:
    """The variables that stand for options."""
    return frozenset(_variable(one) for command in every_command().values() for one in shown_options(command))


def shared_options_table() -> str:
    """Options that mean the same in several commands, with these commands."""
    rows = []
    for option, names in _shared().values():
        *cells, meaning = _row(option)
        rows.append((*cells, meaning, ", ".join(_merged(names))))
    return table((*HEAD, "commands"), rows)


def commands_text() -> str:
    """A heading, the usage and the options of its own for each command."""
    parts = []
    for name, command in every_command().items():
        own = [one for one in shown_options(command) if _identity(one) not in _shared()]
        summary = (command.help or "").partition("\n\n")[0]
        parts.append(f"### keyfleet {name}\n\n`{_usage(name, command)}`: {quoted(' '.join(summary.split()))}\n")
        if own:
            parts.append(table(HEAD, [_row(one) for one in own]))
    return "\n".join(parts)


@cache
def _shared() -> dict[tuple[str, ...], tuple[click.Option, list[str]]]:
    """By what makes an option the same: an option of it, and the commands that take it; those of several commands."""
    found: dict[tuple[str, ...], tuple[click.Option, list[str]]] = {}
    for name, command in every_command().items():
        for option in shown_options(command):
            found.setdefault(_identity(option), (option, []))[1].append(name)
    return {identity: entry for identity, entry in found.items() if len(entry[1]) > 1}


def _identity(option: click.Option) -> tuple[str, ...]:
    return (*option.opts, _variable(option), option.help or "")


def _merged(names: Sequence[str]) -> Iterator[str]:
    """`jobs …` where all commands of `jobs` are meant."""
    for name in names:
        group, _, _ = name.partition(" ")
        whole = [one for one in every_command() if one == group or one.startswith(f"{group} ")]
        if len(whole) == 1 or not set(whole) <= set(names):
            yield f"`{name}`"
        elif name == group:
            yield f"`{group}` and all of its commands"


def _usage(name: str, command: click.Command) -> str:
    subcommand = command.subcommand_metavar if isinstance(command, click.Group) else None
    pieces = command.collect_usage_pieces(click.Context(command))
    return " ".join(["keyfleet", name, *(piece for piece in pieces if piece != subcommand)])


def _row(option: click.Option) -> tuple[str, ...]:
    meaning, _ = split_default(option.help or "")
    setting = setting_variables().get(_variable(option))
    variable = _variable(option)
    cell = variables_cell(setting) if setting else as_code(variable) if variable else NOTHING
    return as_code(*_names(option)), cell, _value(option), _default_cell(option), quoted(meaning)


def _names(option: click.Option) -> list[str]:
    """Without those that only spell as the cookbook's script does."""
    return [name for name in (*option.opts, *option.secondary_opts) if "_" not in name]


def _variable(option: click.Option) -> str:
    return option.envvar if isinstance(option.envvar, str) else ""


def _value(option: click.Option) -> str:
    if option.is_flag:
        return "yes or no" if option.secondary_opts else NOTHING
    text = quoted(_expected(option))
    if option.multiple and _variable(option):
        between = f"`{os.pathsep}`" if isinstance(option.type, click.Path) else "blanks"
        return f"{text}; in the variable several with {between} between"
    return f"{text}; may be repeated" if option.multiple else text


def _expected(option: click.Option) -> str:
    if option.callback is not None:
        try:
            option.callback(click.Context(click.Command("reference")), option, WRONG)
        except click.BadParameter as error:
            return expected_of(error.message)
    kind = option.type
    if isinstance(kind, click.Choice):
        return as_code(*kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
        return f"{number} of at least {kind.min}" if kind.max is None else f"{number} from {kind.min} to {kind.max}"
    if isinstance(kind, click.Path):
        return "a path"
    return f"`{option.metavar}`" if option.metavar else "a text"


def option_default(option: click.Option) -> str | None:
    """The default that the help names, else the option's own, else that of the setting; None: there is none."""
    _, said = split_default(option.help or "")
    if said is not None:
        return said
    if isinstance(option.default, str | int | Path) and not isinstance(option.default, bool):
        return str(option.default)
    setting = setting_variables().get(_variable(option))
    return default_text(setting.field, setting.default) if setting and setting.default is not None else None


def _default_cell(option: click.Option) -> str:
    default = option_default(option)
    if default is None:
        return NOTHING
    return as_code(default) if _LITERAL.fullmatch(default) else quoted(default)
