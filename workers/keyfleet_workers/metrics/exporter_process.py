"""The process that serves the metrics of a host's workers."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from types import FrameType

from prometheus_client import CollectorRegistry

from keyfleet.broker import connect
from keyfleet.config import Settings
from keyfleet_workers.metrics.counted_files import CountedFiles
from keyfleet_workers.metrics.directory import fold_dead, is_supervised, live_workers
from keyfleet_workers.metrics.fleet_collector import FleetCollector
from keyfleet_workers.metrics.http_server import MetricsServer
from keyfleet_workers.metrics.pages import Pages
from keyfleet_workers.worker_logs import hide_passwords

__all__ = ["BROKER_TIMEOUT_S", "serve_metrics"]

logger = logging.getLogger(__name__)

BROKER_TIMEOUT_S = 3.0
"""Longest silence of the broker while a page is made (s): probes of containers give up soon."""


def serve_metrics(settings: Settings, broker_url: str, directory: Path, port: int) -> int:
    """Serve what worker processes write into `directory`, until standard input or a SIGQUIT ends it.

    It outlives SIGTERM, which service managers send to all processes, so that workers that finish their calls are
    still seen. Returns the exit code. Raises ConfigurationError where it can't listen.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, _end)
    hide_passwords(broker_url)
    client = connect(broker_url, timeout_s=BROKER_TIMEOUT_S)
    registry = CollectorRegistry()
    registry.register(CountedFiles(directory))
    fleet = FleetCollector(client, settings.fleet)
    registry.register(fleet)
    pages = Pages(
        registry,
        client,
        workers=partial(live_workers, directory),
        is_live=partial(is_supervised, directory),
        before_reading=partial(fold_dead, directory),
    )
    with MetricsServer(pages, settings.metrics_address, port) as server:
        threading.Thread(
            target=_end_with_supervisor, args=(directory,), name="keyfleet-parent-watch", daemon=True
        ).start()
        try:
            server.serve_forever()
        finally:
            fleet.give_up_turn()
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _end_with_supervisor(directory: Path) -> None:
    while os.read(0, 1024):
        pass
    shutil.rmtree(directory, ignore_errors=True)  # a supervisor that was killed couldn't
    os.kill(os.getpid(), signal.SIGQUIT)
