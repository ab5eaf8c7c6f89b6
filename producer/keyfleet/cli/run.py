"""`keyfleet run`: a JSONL file of requests through all keys."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler

from keyfleet.batch.endpoints import split_url
from keyfleet.batch.job import NothingToDo
from keyfleet.cli import options
from keyfleet.config import DEFAULT_BASE_URLS, Environment, KeySource, Settings, find_keys, parse_duration_s
from keyfleet.errors import ConfigurationError
from keyfleet.running import RunOptions, RunSession
from keyfleet.running.progress import PlainProgress, TerminalProgress
from keyfleet.running.quota_shares import QuotaShares
from keyfleet.running.session import End, Snapshot
from keyfleet.running.summary import print_summary

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
@options.keys
@options.broker
@options.fleet
@click.option(
    "--url",
    "--request_url",
    envvar="KEYFLEET_URL",
    help="Endpoint path or full URL of bare bodies (default: told from a body's shape).",
)
@click.option(
    "--limit", "limit_lines", type=click.IntRange(min=1), envvar="KEYFLEET_LIMIT", help="Only the first N lines."
)
@options.use
@click.option(
    "--max-attempts",
    "--max_attempts",
    type=click.IntRange(min=1),
    envvar="KEYFLEET_MAX_ATTEMPTS",
    help="Most calls for one request; being rate limited costs none (default: 5).",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="TIME",
    envvar="KEYFLEET_TIMEOUT",
    callback=options.parsed(parse_duration_s),
    help="Longest silence of the provider in one call, e.g. 90s (default: 600s).",
)
@click.option(
    "--timeout-attempts",
    type=click.IntRange(min=1),
    envvar="KEYFLEET_TIMEOUT_ATTEMPTS",
    help="Most calls that time out for one request, as each may have been paid for (default: 2).",
)
@options.concurrency
@click.option("--ordered/--no-ordered", default=None, envvar="KEYFLEET_ORDERED", help="Write results in input order.")
@click.option("--overwrite", is_flag=True, help="Replace an output that is there, and begin anew.")
@click.option("--retry-failed", is_flag=True, help="Send the failed lines of a finished job again.")
@click.option(
    "--stop-early/--no-stop-early",
    default=None,
    envvar="KEYFLEET_STOP_EARLY",
    help="End when the first 100 outcomes are all the same error (default: on).",
)
@click.option(
    "--give-up-after",
    "give_up_after_s",
    metavar="TIME",
    envvar="KEYFLEET_GIVE_UP_AFTER",
    callback=options.parsed(parse_duration_s),
    help="End after so long without any outcome, e.g. 1h (default: never).",
)
@click.option(
    "--workers/--no-workers",
    "use_local_workers",
    default=None,
    envvar="KEYFLEET_WORKERS",
    help="Start workers here, or use those that are running (default: start them where no broker is named).",
)
@click.option("--progress/--no-progress", default=None, envvar="KEYFLEET_PROGRESS", help="Show progress.")
@options.log_level
@click.option(
    "--requests-per-minute",
    "--max_requests_per_minute",
    type=click.FloatRange(min=1),
    envvar="KEYFLEET_REQUESTS_PER_MINUTE",
    help="Limit of each key, in place of what is configured for a minute.",
)
@click.option(
    "--tokens-per-minute",
    "--max_tokens_per_minute",
    type=click.FloatRange(min=1),
    envvar="KEYFLEET_TOKENS_PER_MINUTE",
    help="Limit of each key, in place of what is configured for a minute.",
)
@click.option(
    "--token-encoding",
    "--token_encoding_name",
    "encoding_name",
    envvar="KEYFLEET_TOKEN_ENCODING",
    help="tiktoken's encoding for counting (default: the model's).",
)
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
    settings = Settings.from_environment(env).with_options(**_settings_part(given))
    sys.exit(run_job(_run_options(name, given, settings), settings, env))


_SETTINGS = (
    *("broker_url", "fleet", "use", "concurrency", "log_level", "max_attempts", "timeout_s", "timeout_attempts"),
    *("give_up_after_s", "ordered", "progress", "stop_early"),
)


def _settings_part(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in _SETTINGS}


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
        use_local_workers=given["use_local_workers"],
        encoding_name=given["encoding_name"],
        requests_per_minute=given["requests_per_minute"],
        tokens_per_minute=given["tokens_per_minute"],
        keys_path=given["keys"],
    )


def run_job(run_options: RunOptions, settings: Settings, env: Environment, *, names_output: bool = True) -> int:
    """Run one job with progress and summary; returns the exit code. Raises KeyfleetError for what is misconfigured.

    `names_output=False` suits an output that will not be kept.
    """
    console = Console(stderr=True)
    _configure_logging(console, settings.log_level)
    source = _find_keys(run_options, settings, env)
    session = RunSession(run_options, settings, env, source)
    opened = session.open()
    if opened is not None:
        return _say_nothing_to_do(console, opened)
    try:
        if source is not None:
            console.print(source.description, highlight=False, markup=False, soft_wrap=True)
        if not session.files.lines.resumable:
            console.print("standard input can't be read twice: an interruption can't be resumed", highlight=False)
        session.connect()
        return _run_with_progress(console, session, settings, names_output)
    finally:
        session.close()


def _find_keys(run_options: RunOptions, settings: Settings, env: Environment) -> KeySource | None:
    """The keys, where workers are started here. Raises ConfigurationError."""
    own = settings.broker_url is None if run_options.use_local_workers is None else run_options.use_local_workers
    if not own:
        if settings.broker_url is None:
            raise ConfigurationError(
                "--no-workers needs a broker that running workers share; give --broker or set KEYFLEET_BROKER_URL",
                setting="--no-workers",
            )
        if run_options.url and split_url(run_options.url)[0] not in (None, DEFAULT_BASE_URLS["openai"]):
            raise ConfigurationError(
                "--url: running workers know their providers' addresses; give the path alone", setting="--url"
            )
        return None
    source = find_keys(
        option_path=run_options.keys_path,
        env=env,
        cwd=Path.cwd(),
        requests_per_minute=run_options.requests_per_minute,
        tokens_per_minute=run_options.tokens_per_minute,
    )
    source.check_variables(env)
    return source


def _run_with_progress(console: Console, session: RunSession, settings: Settings, names_output: bool) -> int:
    shares = QuotaShares()
    on_terminal = settings.progress and console.is_terminal
    progress = TerminalProgress(console) if on_terminal else PlainProgress()

    def show(snapshot: Snapshot) -> None:
        shares.note(snapshot.fleet)
        if settings.progress:
            progress.show(snapshot)

    def on_signal(number: int, frame: FrameType | None) -> None:
        if session.interrupt() == 1:
            console.print(
                f"stopping: waiting for the calls under way, up to {settings.timeout_s:.0f} s each; "
                "Ctrl-C again stops at once, and the same command goes on where this stops",
                highlight=False,
            )

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    began_s = time.monotonic()
    try:
        with progress:
            end = session.run(show)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    output = session.files.paths.output if names_output else None
    print_summary(console, session.tally, shares, elapsed_s=time.monotonic() - began_s, output=output)
    return _exit_code(console, session, end)


def _exit_code(console: Console, session: RunSession, end: End) -> int:
    if end is End.DONE:
        return session.files.exit_code
    if end is End.STOPPED:
        console.print(f"stopped: {session.stop_reason}", highlight=False, markup=False, soft_wrap=True)
    console.print("the same command goes on where this one stopped", highlight=False)
    return int(end.value)


def _say_nothing_to_do(console: Console, done: NothingToDo) -> int:
    console.print(
        f"nothing to do: all {done.finished_lines:,} lines have their result in {done.paths.output}"
        + (f" ({done.failed_lines:,} failed; --retry-failed sends those again)" if done.failed_lines else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return done.exit_code


def _configure_logging(console: Console, level: int) -> None:
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, markup=False)
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("kombu").setLevel(max(level, logging.WARNING))
