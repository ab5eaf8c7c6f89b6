"""`keyfleet worker`: serve one key, or every configured key with a process each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from keyfleet.cli import options
from keyfleet.config import Environment, KeyConfig, KeySource, Settings, find_keys
from keyfleet.errors import ConfigurationError, KeyfleetError
from keyfleet_workers.process import WorkerOptions, end_with, run_worker
from keyfleet_workers.supervisor import CONFIGURATION_EXIT, Supervisor

__all__ = ["worker"]


@click.command()
@click.option("--key", "key_name", metavar="NAME", envvar="KEYFLEET_KEY", help="Serve the key of this name.")
@click.option("--all", "all_keys", is_flag=True, help="Serve every configured key, with a process for each.")
@options.keys
@options.broker
@options.fleet
@options.use
@options.concurrency
@options.log_level
@click.option("--base-url", hidden=True, help="Provider's address for keys that have none of their own.")
@click.option("--requests-per-minute", type=float, hidden=True)
@click.option("--tokens-per-minute", type=float, hidden=True)
@click.option("--end-with-stdin", is_flag=True, hidden=True, help="End when standard input is closed.")
def worker(
    key_name: str | None,
    all_keys: bool,
    keys: Path | None,
    base_url: str | None,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
    end_with_stdin: bool,
    **given: Any,
) -> None:
    """Run workers: each is bound to one key and takes requests while the key's limits allow.

    Start as many as there are keys, on as many hosts as you like: all of them share each key's limits through the
    broker.

    \b
      keyfleet worker --key research-1 --broker redis://queue.example:6379/0
      keyfleet worker --all
    """
    env = Environment.read()
    settings = Settings.from_environment(env).with_options(**given)
    worker_options = WorkerOptions(settings, _broker_of(settings))
    source = find_keys(
        option_path=keys,
        env=env,
        cwd=Path.cwd(),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    source = _with_base_url(source, base_url)
    if all_keys:
        supervisor = Supervisor(source.keys, _server(env, worker_options), _spawn_command, end_with_stdin)
        sys.exit(supervisor.run())
    key = _choose(source, key_name)
    if end_with_stdin:
        end_with(0)
    sys.exit(run_worker(key, env, worker_options))


def _broker_of(settings: Settings) -> str:
    if settings.broker_url is None:
        raise ConfigurationError(
            "no broker is set; give --broker redis://HOST:6379/0 or set KEYFLEET_BROKER_URL "
            "(`keyfleet run` without a broker brings its own workers)",
            setting="KEYFLEET_BROKER_URL",
        )
    return settings.broker_url


def _server(env: Environment, worker_options: WorkerOptions) -> Callable[[KeyConfig], int]:
    def serve(key: KeyConfig) -> int:
        end_with(0)
        try:
            return run_worker(key, env, worker_options)
        except KeyfleetError as error:
            click.echo(f"keyfleet worker: {error}", err=True)
            return CONFIGURATION_EXIT if isinstance(error, ConfigurationError) else 1

    return serve


def _choose(source: KeySource, name: str | None) -> KeyConfig:
    names = ", ".join(key.name for key in source.keys)
    if name is None and len(source.keys) == 1:
        return source.keys[0]
    if name is None:
        raise ConfigurationError(f"say which key to serve with --key ({names}), or --all", setting="--key")
    for key in source.keys:
        if key.name == name:
            return key
    raise ConfigurationError(f"no key is named as --key says; configured are {names}", setting="--key")


def _with_base_url(source: KeySource, base_url: str | None) -> KeySource:
    """The keys, with `base_url` for those that were given none of their own."""
    if base_url is None:
        return source
    default = KeyConfig.__dataclass_fields__["base_url"].default
    return replace(
        source,
        keys=tuple(replace(key, base_url=base_url) if key.base_url == default else key for key in source.keys),
    )


def _spawn_command(key: KeyConfig) -> list[str]:
    """The command that serves `key` in a new interpreter, with the options of this one."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--all"]
    return [sys.executable, "-m", "keyfleet", *arguments, "--key", key.name, "--end-with-stdin"]
