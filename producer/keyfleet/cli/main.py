"""The `keyfleet` command."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Any, NoReturn

import click

from keyfleet.errors import KeyfleetError
from keyfleet.version import __version__

__all__ = ["main"]

USAGE_EXIT = 2
"""Exit code of a wrong option, setting or file, and of a broker that can't be reached."""

INTERRUPTED_EXIT = 130
"""Exit code after Ctrl-C, as shells have it; click's own would be 1, which says that lines failed."""

_LAZY_COMMANDS = {
    "demo": ("keyfleet.cli.demo", "See it work: no API key, no server."),
    "gateway": ("keyfleet.cli.gateway", "Serve OpenAI's API with all keys behind it."),
    "init": ("keyfleet.cli.init", "Write a keys.yaml from the environment."),
    "jobs": ("keyfleet.cli.jobs", "List jobs; see, retry, cancel and remove them."),
    "run": ("keyfleet.cli.run", "Run a JSONL file of requests through all keys."),
    "sim": ("keyfleet.cli.sim", "Stand in for a provider, limits included."),
}
"""Commands of this package, imported when they are called; the text is for the overview."""

_ENTRY_POINT_GROUP = "keyfleet.commands"


class _Commands(click.Group):
    """Finds commands here and, through entry points, in the packages that bring more."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_LAZY_COMMANDS, *(point.name for point in entry_points(group=_ENTRY_POINT_GROUP))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LAZY_COMMANDS:
            module = __import__(_LAZY_COMMANDS[cmd_name][0], fromlist=[cmd_name])
            command: click.Command = getattr(module, cmd_name)
            return command
        for point in entry_points(group=_ENTRY_POINT_GROUP, name=cmd_name):
            found: click.Command = point.load()
            return found
        return None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a Ctrl-C that nobody else took, while it starts or tidies up, ends it here."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED_EXIT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="keyfleet")
def cli() -> None:
    """Drive LLM requests through all your API keys, at the full rate their limits allow and never above it."""


def main() -> NoReturn:
    """Run the command line; errors of ours are one line, with an exit code that a script can trust."""
    try:
        cli.main(prog_name="keyfleet", standalone_mode=True)
    except KeyfleetError as error:
        click.echo(f"keyfleet: {error}", err=True)
        sys.exit(USAGE_EXIT)
    sys.exit(0)
