"""What `keyfleet worker` does about metrics: nothing, unless a port is given."""

from __future__ import annotations

import sys
from functools import partial

import click

from keyfleet.config import Settings
from keyfleet.errors import ConfigurationError, KeyfleetError
from keyfleet_workers.children import Launcher
from keyfleet_workers.exit_codes import CONFIGURATION_EXIT
from keyfleet_workers.metrics.exporter import Exporter, MetricsPlace
from keyfleet_workers.process import WorkerOptions
from keyfleet_workers.worker_logs import configure_logging

__all__ = ["export_metrics", "exporter_of", "metrics_place"]


def metrics_place(settings: Settings, *, is_child: bool, is_local: bool) -> MetricsPlace | None:
    """Where this host's metrics are kept and served; None where nobody asked for any.

    Workers of a `keyfleet run` or gateway of its own (`is_local`) serve none: several such commands on one machine
    would fight for the port that their environment names. Raises ConfigurationError.
    """
    if settings.metrics_port is None or is_local:
        return None
    if is_child:
        return MetricsPlace.of_supervisor(settings.metrics_address, settings.metrics_port)
    return MetricsPlace.prepare(settings.metrics_address, settings.metrics_port)


def exporter_of(place: MetricsPlace | None, options: WorkerOptions, launcher: Launcher) -> Exporter | None:
    """What keeps the process running that serves them."""
    if place is None:
        return None
    click.echo(f"keyfleet worker: metrics at {place.url}", err=True)
    command = [sys.executable, "-m", "keyfleet", *sys.argv[1:], "--metrics-port", str(place.port), "--as-exporter"]
    return Exporter(launcher, partial(_serve, place, options), command, place.directory)


def export_metrics(place: MetricsPlace | None, options: WorkerOptions) -> int:
    """Be that process, where it can't be forked; returns the exit code."""
    configure_logging(options.settings.log_level, options.settings.log_format)
    return CONFIGURATION_EXIT if place is None else _serve(place, options)


def _serve(place: MetricsPlace, options: WorkerOptions) -> int:
    from keyfleet_workers.metrics.exporter_process import serve_metrics  # brings prometheus_client

    try:
        return serve_metrics(options.settings, options.broker_url, place.directory, place.port)
    except KeyfleetError as error:
        click.echo(f"keyfleet worker: {error}", err=True)
        return CONFIGURATION_EXIT if isinstance(error, ConfigurationError) else 1
