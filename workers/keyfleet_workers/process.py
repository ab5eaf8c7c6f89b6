"""One worker process, from its start to its end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from celery.platforms import SecurityWarning
from celery.signals import setup_logging

from keyfleet.broker import check_server, connect
from keyfleet.config import Environment, KeyConfig, Settings
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.celery_app import build_app
from keyfleet_workers.leaving import Leaver
from keyfleet_workers.metrics import NO_METER, Meter
from keyfleet_workers.worker_logs import log_without_secrets

__all__ = ["WorkerOptions", "end_with", "run_worker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker process is started with, without any secret.

    `is_supervised`: it ends with its standard input, which its supervisor holds. `ends_when_set_aside`: it ends with
    KEY_SET_ASIDE once its key can't be used for now. Metrics are written into `metrics_directory`, if there is one.
    """

    settings: Settings
    broker_url: str = field(repr=False)
    is_supervised: bool = False
    ends_when_set_aside: bool = False
    metrics_directory: Path | None = None


def end_with(descriptor: int, end: Callable[[], object]) -> None:
    """Call `end` once the other end of a pipe is closed, which is when its holder has ended."""

    def watch() -> None:
        while os.read(descriptor, 1024):
            pass
        end()

    threading.Thread(target=watch, name="keyfleet-parent-watch", daemon=True).start()


def run_worker(key: KeyConfig, env: Environment, options: WorkerOptions) -> int:
    """Serve one key until told to stop; returns the exit code. Raises ConfigurationError and BrokerUnavailable."""
    settings = options.settings
    leaver = Leaver(settings.shutdown_timeout_s)
    if options.is_supervised:
        for number in (signal.SIGINT, signal.SIGHUP):  # meant for the supervisor, though a terminal tells everybody
            signal.signal(number, signal.SIG_IGN)
        end_with(0, leaver.leave)
    with connect(options.broker_url) as client:
        check_server(client, options.broker_url)
    binding = KeyBinding.of(key, env, settings)
    log_without_secrets(settings, binding, options.broker_url)
    app = build_app(
        settings,
        binding,
        options.broker_url,
        leaver=leaver,
        is_supervised=options.is_supervised,
        ends_when_set_aside=options.ends_when_set_aside,
        meter=_meter(key, options),
    )
    setup_logging.connect(_leave_logging_alone, weak=False)
    warnings.simplefilter("ignore", SecurityWarning)  # it is about root and pickle, and tickets are JSON only
    worker = app.Worker(
        hostname=f"{key.name}@{socket.gethostname()}",
        pool="threads",
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return leaver.code or int(worker.exitcode or 0)


def _meter(key: KeyConfig, options: WorkerOptions) -> Meter:
    if options.metrics_directory is None:
        return NO_METER
    from keyfleet_workers.metrics.opening import meter_in  # brings prometheus_client, which not every worker needs

    try:
        return meter_in(options.metrics_directory, key.name)
    except OSError as error:
        logger.warning("the worker of key %s serves no metrics (%s)", key.name, error.strerror)
        return NO_METER


def _leave_logging_alone(**_: object) -> None:
    """Celery sets up logging unless somebody answers this signal."""
