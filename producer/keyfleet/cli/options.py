"""Options that mean the same in every command. Each is also an environment variable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from keyfleet.config import Environment, check_broker_url, check_fleet, parse_log_level, parse_percentage
from keyfleet.logs import parse_log_format

__all__ = ["broker", "concurrency", "fill_from_dotenv", "fleet", "keys", "log_format", "log_level", "parsed", "use"]

F = TypeVar("F", bound=Callable[..., Any])


def parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A click callback that parses a text and turns ValueError into a usage error."""

    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx=context, param=parameter) from None

    return callback


def fill_from_dotenv(given: dict[str, Any], env: Environment) -> dict[str, Any]:
    """`given`, with options of the running command that only `.env` sets."""
    context = click.get_current_context()
    filled = dict(given)
    for parameter in context.command.params:
        name, variable = parameter.name or "", parameter.envvar
        if given.get(name) is None and isinstance(variable, str) and env.is_from_dotenv(variable):
            filled[name] = parameter.process_value(context, env.get(variable))
    return filled


keys = click.option(
    "--keys",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    envvar="KEYFLEET_KEYS",
    help="Keys file; without it ./keys.yaml, else the environment (OPENAI_API_KEY…).",
)

broker = click.option(
    "--broker",
    "broker_url",
    metavar="URL",
    envvar="KEYFLEET_BROKER_URL",
    callback=parsed(check_broker_url),
    help="Redis 7 or Valkey that the fleet shares, e.g. redis://host:6379/0.",
)

fleet = click.option(
    "--fleet",
    metavar="NAME",
    envvar="KEYFLEET_FLEET",
    callback=parsed(check_fleet),
    help="Fleet on that broker, where several share it (default: main). Quotas are shared by all fleets.",
)

use = click.option(
    "--use",
    metavar="SHARE",
    envvar="KEYFLEET_USE",
    callback=parsed(parse_percentage),
    help="Share of every limit that may be used, e.g. 70%.",
)

concurrency = click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    envvar="KEYFLEET_CONCURRENCY",
    help="Most calls under way per key (default: as many as it takes, up to 256).",
)

log_level = click.option(
    "--log-level",
    "--logging_level",
    metavar="LEVEL",
    envvar="KEYFLEET_LOG_LEVEL",
    callback=parsed(parse_log_level),
    help="debug, info, warning or error, or a number as Python's logging has it.",
)

log_format = click.option(
    "--log-format",
    metavar="FORMAT",
    envvar="KEYFLEET_LOG_FORMAT",
    callback=parsed(parse_log_format),
    help="text, or json: one document a line (default: text).",
)
