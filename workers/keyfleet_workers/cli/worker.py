"""`keyfleet worker`: serve a free key, the one that is named, or every key or a share of them with a process each."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from keyfleet.broker import check_server, connect
from keyfleet.cli import options
from keyfleet.cli.service_exits import exit_where_the_broker_is_away
from keyfleet.config import Environment, KeyConfig, Settings, parse_duration_s
from keyfleet.errors import ConfigurationError, KeyfleetError
from keyfleet_workers.assignment import Assignment, EveryKey, NamedKey
from keyfleet_workers.children import Launcher
from keyfleet_workers.cli.keys_loader import KeysLoader
from keyfleet_workers.cli.worker_metrics import export_metrics, exporter_of, metrics_place
from keyfleet_workers.exit_codes import CONFIGURATION_EXIT
from keyfleet_workers.key_leases import KeyLeases
from keyfleet_workers.lease_upkeep import LeaseUpkeep
from keyfleet_workers.leased_key import LeasedKey
from keyfleet_workers.process import WorkerOptions, run_worker
from keyfleet_workers.shared_keys import SharedKeys
from keyfleet_workers.supervisor import Supervisor
from keyfleet_workers.worker_logs import configure_logging

__all__ = ["worker"]

LEASES_TIMEOUT_S = 2.0
"""Longest silence of the broker about leases (s): until then the supervisor sees to nothing else."""

SHUTDOWN_MARGIN_S = 15.0
"""How much longer than their own deadline workers may take to end before they are killed (s)."""


@click.command()
@click.option("--key", "key_name", metavar="NAME", envvar="KEYFLEET_KEY", help="Serve the key of this name.")
@click.option("--all", "all_keys", is_flag=True, help="Serve every configured key, with a process for each.")
@click.option(
    "--share",
    is_flag=True,
    help="Serve a fair share of the keys, with a process for each: all of them on one host, a third on each of three.",
)
@options.keys
@options.broker
@options.fleet
@options.use
@options.concurrency
@click.option(
    "--workers-per-key",
    type=click.IntRange(min=1),
    envvar="KEYFLEET_WORKERS_PER_KEY",
    help="Most workers that lease the same key, where none is named (default: the key's `workers`, else 1).",
)
@click.option(
    "--shutdown-timeout",
    "shutdown_timeout_s",
    metavar="TIME",
    envvar="KEYFLEET_SHUTDOWN_TIMEOUT",
    callback=options.parsed(parse_duration_s),
    help="How long calls under way may take after SIGTERM (default: 60s). A second SIGTERM stops at once.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    envvar="KEYFLEET_METRICS_PORT",
    help="Serve /metrics for Prometheus, /healthz and /readyz here; 0 takes a free port (default: off).",
)
@click.option(
    "--metrics-address",
    metavar="ADDRESS",
    envvar="KEYFLEET_METRICS_ADDRESS",
    help="Where to serve them, e.g. 0.0.0.0 in a container (default: 127.0.0.1).",
)
@options.log_level
@options.log_format
@click.option("--base-url", hidden=True, help="Provider's address for keys that have none of their own.")
@click.option("--requests-per-minute", type=float, hidden=True)
@click.option("--tokens-per-minute", type=float, hidden=True)
@click.option("--end-with-stdin", is_flag=True, hidden=True, help="End when standard input is closed.")
@click.option("--as-child", is_flag=True, hidden=True, help="Be the process that serves --key, under a supervisor.")
@click.option("--as-exporter", is_flag=True, hidden=True, help="Be the process that serves metrics.")
@click.option("--ends-when-set-aside", is_flag=True, hidden=True, help="Be one that leaves its key.")
def worker(
    key_name: str | None,
    all_keys: bool,
    share: bool,
    keys: Path | None,
    base_url: str | None,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
    end_with_stdin: bool,
    as_child: bool,
    as_exporter: bool,
    ends_when_set_aside: bool,
    **given: Any,
) -> None:
    """Run a worker: it is bound to one key at a time and takes requests while the key's limits allow.

    Without --key it leases a free key, and another when its own is revoked or empty. Start as many as there are keys,
    on as many hosts as you like: they share out the keys, and each key's limits, through the broker. With --share no
    key is left over, however few they are. SIGTERM finishes the calls under way, SIGHUP or a change of the keys file
    applies what is configured anew.

    \b
      keyfleet worker --broker redis://queue.example:6379/0
      keyfleet worker --key research-1
      keyfleet worker --all
      keyfleet worker --share

    Exit codes: 0 after SIGTERM or Ctrl-C, 2 usage or configuration, 69 no broker answers at the start.
    """
    names_key = click.get_current_context().get_parameter_source("key_name") is click.core.ParameterSource.COMMANDLINE
    if names_key + all_keys + share > 1 and not as_child:
        raise click.UsageError("--key, --all and --share exclude each other: give one of them, or none for a free key")
    settings = Settings.from_environment(Environment.read()).with_options(**given)
    loader = KeysLoader(keys, base_url, requests_per_minute, tokens_per_minute)
    is_leasing = not (all_keys or key_name or share)
    metrics = metrics_place(settings, is_child=as_child or as_exporter, is_local=end_with_stdin)
    worker_options = WorkerOptions(
        settings,
        _broker_of(settings),
        is_supervised=True,
        ends_when_set_aside=ends_when_set_aside or is_leasing,
        metrics_directory=metrics.directory if metrics else None,
    )
    if as_exporter:
        sys.exit(export_metrics(metrics, worker_options))
    if as_child:
        sys.exit(_server(worker_options)(_named(loader.load().keys, key_name)))
    leases = _leases(worker_options)
    if is_leasing or share:
        leasing = SharedKeys if share else LeasedKey
        assignment: Assignment = leasing(_host_id(), leases, loader.has_secrets_of, settings.workers_per_key)
    else:
        assignment = _told(None if all_keys else key_name)
    supervisor = _supervisor(assignment, loader, worker_options, leases, end_with_stdin)
    if not (all_keys or share):  # of a broker that isn't there, a single worker says so; a whole host's wait for it
        with exit_where_the_broker_is_away(), connect(worker_options.broker_url) as client:
            check_server(client, worker_options.broker_url)
    configure_logging(settings.log_level, settings.log_format)
    supervisor.beside = exporter_of(metrics, worker_options, supervisor.launcher)
    sys.exit(supervisor.run())


def _host_id() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def _told(key_name: str | None) -> Assignment:
    """To the key of this name, or to every key."""
    return EveryKey(_host_id()) if key_name is None else NamedKey(_host_id(), name=key_name)


def _supervisor(
    assignment: Assignment, loader: KeysLoader, worker_options: WorkerOptions, leases: KeyLeases, end_with_stdin: bool
) -> Supervisor:
    """Raises ConfigurationError where no key is there to be served."""
    watch, source = loader.watch()
    if isinstance(assignment, NamedKey):
        _named(source.keys, assignment.name)
    elif not assignment.candidates(source.keys):
        source.check_variables(loader.env)
    settings = worker_options.settings
    return Supervisor(
        assignment,
        Launcher(_server(worker_options), partial(_spawn_command, worker_options.ends_when_set_aside)),
        source.keys,
        watch,
        LeaseUpkeep(leases, settings.lease_s),
        end_with_stdin,
        shutdown_s=settings.shutdown_timeout_s + SHUTDOWN_MARGIN_S,
    )


def _broker_of(settings: Settings) -> str:
    if settings.broker_url is None:
        raise ConfigurationError(
            "no broker is set; give --broker redis://HOST:6379/0 or set KEYFLEET_BROKER_URL "
            "(`keyfleet run` without a broker brings its own workers)",
            setting="KEYFLEET_BROKER_URL",
        )
    return settings.broker_url


def _leases(worker_options: WorkerOptions) -> KeyLeases:
    settings = worker_options.settings
    client = partial(connect, worker_options.broker_url, timeout_s=LEASES_TIMEOUT_S)
    return KeyLeases(client, settings.fleet, lease_ms=round(settings.lease_s * 1000))


def _server(worker_options: WorkerOptions) -> Callable[[KeyConfig], int]:
    def serve(key: KeyConfig) -> int:
        try:
            return run_worker(key, Environment.read(), worker_options)
        except KeyfleetError as error:
            click.echo(f"keyfleet worker: {error}", err=True)
            return CONFIGURATION_EXIT if isinstance(error, ConfigurationError) else 1

    return serve


def _named(keys: tuple[KeyConfig, ...], name: str | None) -> KeyConfig:
    for key in keys:
        if key.name == name:
            return key
    names = ", ".join(key.name for key in keys)
    raise ConfigurationError(f"no key is named as --key says; configured are {names}", setting="--key")


def _spawn_command(ends_when_set_aside: bool, key: KeyConfig) -> list[str]:
    """The command that serves `key` in a new interpreter, with the options of this one; its last --key counts."""
    command = [sys.executable, "-m", "keyfleet", *sys.argv[1:], "--key", key.name, "--as-child"]
    return [*command, "--ends-when-set-aside"] if ends_when_set_aside else command
