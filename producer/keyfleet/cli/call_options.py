"""Options of the commands that send requests: whose keys, how many calls, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from keyfleet.cli import options
from keyfleet.config import parse_duration_s

__all__ = [
    "call_options",
    "local_workers",
    "max_attempts",
    "run_part",
    "settings_part",
    "timeout",
    "token_encoding",
]

F = TypeVar("F", bound=Callable[..., Any])

max_attempts = click.option(
    "--max-attempts",
    "--max_attempts",
    type=click.IntRange(min=1),
    envvar="KEYFLEET_MAX_ATTEMPTS",
    help="Most calls for one request; being rate limited costs none (default: 5).",
)

timeout = click.option(
    "--timeout",
    "timeout_s",
    metavar="TIME",
    envvar="KEYFLEET_TIMEOUT",
    callback=options.parsed(parse_duration_s),
    help="Longest silence of the provider in one call, e.g. 90s (default: 600s).",
)

local_workers = click.option(
    "--workers/--no-workers",
    "use_local_workers",
    default=None,
    envvar="KEYFLEET_WORKERS",
    help="Start workers here, or use those that are running (default: start them where no broker is named).",
)

token_encoding = click.option(
    "--token-encoding",
    "--token_encoding_name",
    "encoding_name",
    envvar="KEYFLEET_TOKEN_ENCODING",
    help="tiktoken's encoding for counting (default: the model's).",
)

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    options.keys,
    options.broker,
    options.fleet,
    options.use,
    max_attempts,
    timeout,
    click.option(
        "--timeout-attempts",
        type=click.IntRange(min=1),
        envvar="KEYFLEET_TIMEOUT_ATTEMPTS",
        help="Most calls that time out for one request, as each may have been paid for (default: 2).",
    ),
    options.concurrency,
    click.option(
        "--stop-early/--no-stop-early",
        default=None,
        envvar="KEYFLEET_STOP_EARLY",
        help="End when the first 100 outcomes are all the same error (default: on).",
    ),
    click.option(
        "--give-up-after",
        "give_up_after_s",
        metavar="TIME",
        envvar="KEYFLEET_GIVE_UP_AFTER",
        callback=options.parsed(parse_duration_s),
        help="End after so long without any outcome, e.g. 1h (default: never).",
    ),
    local_workers,
    click.option(
        "--pack/--no-pack",
        default=None,
        envvar="KEYFLEET_PACK",
        help="Let embeddings and completions that differ in their text alone share calls (default: off).",
    ),
    click.option(
        "--pack-inputs",
        type=click.IntRange(min=1),
        envvar="KEYFLEET_PACK_INPUTS",
        help="Most requests that share a call with --pack (default: 2048; completions: at most 20).",
    ),
    click.option("--progress/--no-progress", default=None, envvar="KEYFLEET_PROGRESS", help="Show progress."),
    options.log_level,
    options.log_format,
    click.option(
        "--requests-per-minute",
        "--max_requests_per_minute",
        type=click.FloatRange(min=1),
        envvar="KEYFLEET_REQUESTS_PER_MINUTE",
        help="Limit of each key, in place of what is configured for a minute.",
    ),
    click.option(
        "--tokens-per-minute",
        "--max_tokens_per_minute",
        type=click.FloatRange(min=1),
        envvar="KEYFLEET_TOKENS_PER_MINUTE",
        help="Limit of each key, in place of what is configured for a minute.",
    ),
    token_encoding,
)

_SETTINGS = (
    *("broker_url", "fleet", "use", "concurrency", "log_level", "log_format", "max_attempts", "timeout_s"),
    *("timeout_attempts", "give_up_after_s", "progress", "stop_early", "pack", "pack_inputs"),
)

_OF_A_RUN = ("use_local_workers", "encoding_name", "requests_per_minute", "tokens_per_minute")


def call_options(command: F) -> F:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run_part(given: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that a run has beside its settings, for `RunOptions`."""
    return {"keys_path": given["keys"], **{name: given[name] for name in _OF_A_RUN}}


def settings_part(given: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that are settings, for `Settings.with_options`."""
    return {name: given[name] for name in _SETTINGS}
