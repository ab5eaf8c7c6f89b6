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

from celery.platforms import SecurityWarning
from celery.signals import setup_logging

from keyfleet.broker import check_server, connect
from keyfleet.broker_address import passwords_in
from keyfleet.config import HIDDEN, Environment, KeyConfig, Settings
from keyfleet.hidden_logs import hide_in_logs
from keyfleet.logs import formatter_of
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.celery_app import build_app
from keyfleet_workers.leaving import Leaver

__all__ = ["WorkerOptions", "configure_logging", "end_with", "run_worker"]

logger = logging.getLogger(__name__)

TEXT_LINES = "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"
"""Log lines for people."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker process is started with, without any secret.

    `is_supervised`: it ends with its standard input, which its supervisor holds. `ends_when_set_aside`: it ends with
    KEY_SET_ASIDE once its key can't be used for now.
    """

    settings: Settings
    broker_url: str = field(repr=False)
    is_supervised: bool = False
    ends_when_set_aside: bool = False


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
    _log_without_secrets(settings, binding, options.broker_url)
    app = build_app(
        settings,
        binding,
        options.broker_url,
        leaver=leaver,
        is_supervised=options.is_supervised,
        ends_when_set_aside=options.ends_when_set_aside,
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


class _NoConsumerFilter(logging.Filter):
    """Drops kombu's warning about a ticket that arrived for a queue just left alone: it goes back by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without consumers" not in record.getMessage()


def _leave_logging_alone(**_: object) -> None:
    """Celery sets up logging unless somebody answers this signal."""


def _log_without_secrets(settings: Settings, binding: KeyBinding, broker_url: str) -> None:
    passwords = passwords_in(broker_url)

    def hide(text: str) -> str:
        for password in passwords:
            text = text.replace(password, HIDDEN)
        return binding.without_traces(text)

    configure_logging(settings.log_level, settings.log_format)
    hide_in_logs(hide)


def configure_logging(level: int, log_format: str = "text") -> None:
    """Log to standard error, as supervisors and workers do."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter_of(log_format, TEXT_LINES))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("kombu.transport.virtual.base").addFilter(_NoConsumerFilter())
    logging.getLogger("celery").setLevel(max(level, logging.WARNING))
