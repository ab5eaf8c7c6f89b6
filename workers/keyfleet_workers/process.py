"""One worker process, from its start to its end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from dataclasses import dataclass

from celery.platforms import SecurityWarning
from celery.signals import setup_logging

from keyfleet.broker import check_server, connect
from keyfleet.config import Environment, KeyConfig, Settings
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.celery_app import build_app

__all__ = ["WorkerOptions", "end_with", "run_worker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker process is started with, without any secret."""

    settings: Settings
    broker_url: str


def end_with(descriptor: int) -> None:
    """Ask this process to stop once the other end of a pipe is closed, which is when its parent has ended."""

    def watch() -> None:
        while os.read(descriptor, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="keyfleet-parent-watch", daemon=True).start()


def run_worker(key: KeyConfig, env: Environment, options: WorkerOptions) -> int:
    """Serve one key until told to stop; returns the exit code. Raises ConfigurationError and BrokerUnavailable."""
    settings = options.settings
    with connect(options.broker_url) as client:
        check_server(client, options.broker_url)

    def guard(window_ms: int) -> int:
        return max(settings.guard_ms, round(window_ms * settings.guard_share))

    app = build_app(settings, KeyBinding(key, env, use=settings.use, guard=guard), options.broker_url)
    setup_logging.connect(_configure_logging(settings.log_level), weak=False)
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
    return int(worker.exitcode or 0)


class _NoConsumerFilter(logging.Filter):
    """Drops kombu's warning about a ticket that arrived for a queue just left alone: it goes back by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without consumers" not in record.getMessage()


def _configure_logging(level: int) -> object:
    def configure(**_: object) -> None:
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s")
        logging.getLogger("kombu.transport.virtual.base").addFilter(_NoConsumerFilter())
        logging.getLogger("celery").setLevel(max(level, logging.WARNING))

    return configure
