"""`keyfleet run`: a JSONL file of requests through all keys."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from keyfleet.cli import options
from keyfleet.cli.call_options import call_options, run_part, settings_part
from keyfleet.cli.run_job import run_job
from keyfleet.config import Environment, Settings
from keyfleet.running import RunOptions

__all__ = ["run", "run_job"]

_API_KEY_REFUSED = (
    "a secret is never taken from the command line, where every process of this machine can read it; "
    "set OPENAI_API_KEY in the environment or in .env, or write a keys file with `keyfleet init`"
)


def _refuse_api_key(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(f"{parameter.opts[0]}: {_API_KEY_REFUSED}", ctx=context)


def _cookbook(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    """An option that only spells as the cookbook's script does."""
    return click.option(*names, hidden=True, **attributes)


@click.command()
@click.argument("input_name", metavar="INPUT.jsonl", required=False)
@_cookbook("--requests_filepath", "cookbook_input")
@click.option(
    "-o",
    "--output",
    "--save_filepath",
    type=click.Path(path_type=Path),
    envvar="KEYFLEET_OUTPUT",
    help="Where the results go (default: INPUT_results.jsonl).",
)
@click.option(
    "--url",
    "--request_url",
    envvar="KEYFLEET_URL",
    help="Endpoint path or full URL of bare bodies (default: told from a body's shape).",
)
@click.option(
    "--limit", "limit_lines", type=click.IntRange(min=1), envvar="KEYFLEET_LIMIT", help="Only the first N lines."
)
@click.option("--ordered/--no-ordered", default=None, envvar="KEYFLEET_ORDERED", help="Write results in input order.")
@click.option("--overwrite", is_flag=True, help="Replace an output that is there, and begin anew.")
@click.option("--retry-failed", is_flag=True, help="Send the failed lines of a finished job again.")
@call_options
@_cookbook("--api_key", "--api-key", callback=_refuse_api_key, expose_value=False)
def run(input_name: str | None, cookbook_input: str | None, **given: Any) -> None:
    """Run every request of INPUT.jsonl (- for standard input, .gz as it is) and write each one's result.

    Lines are bare bodies, as the OpenAI cookbook's script takes them, or OpenAI's Batch lines. The same command
    after any interruption goes on where it stopped; nothing is sent twice that has a result.

    \b
      keyfleet run requests.jsonl
      keyfleet run requests.jsonl --limit 10          try the first lines
      keyfleet run requests.jsonl --use 70%           leave a part of every limit to others
      keyfleet run requests.jsonl --retry-failed      send what failed once more
      keyfleet run requests.jsonl --pack              let embeddings share calls

    Exit codes: 0 all succeeded, 1 some failed, 2 usage or configuration, 3 gave up or stopped early,
    130 interrupted.
    """
    name = input_name or cookbook_input
    if name is None:
        raise click.UsageError("name the input: keyfleet run INPUT.jsonl")
    if input_name and cookbook_input:
        raise click.UsageError("the input is named twice, as an argument and with --requests_filepath")
    if given["overwrite"] and given["retry_failed"]:
        raise click.UsageError("--overwrite begins anew and --retry-failed goes on; give one of them")
    env = Environment.read()
    given = options.fill_from_dotenv(given, env)
    settings = Settings.from_environment(env).with_options(**settings_part(given), ordered=given["ordered"])
    sys.exit(run_job(_run_options(name, given, settings), settings, env))


def _run_options(name: str, given: dict[str, Any], settings: Settings) -> RunOptions:
    return RunOptions(
        input_name=name,
        output=given["output"],
        url=given["url"],
        limit_lines=given["limit_lines"],
        ordered=settings.ordered,
        overwrite=given["overwrite"],
        retry_failed=given["retry_failed"],
        stop_early=settings.stop_early,
        pack_inputs=settings.pack_inputs if settings.pack else None,
        **run_part(given),
    )
