"""Opens the meter of a worker process: one that its supervisor's exporter reads, or one that serves itself."""

from __future__ import annotations

import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, disable_created_metrics

from keyfleet.broker import connect
from keyfleet.config import Settings
from keyfleet_workers.metrics.directory import Claim
from keyfleet_workers.metrics.disk_room import DiskRoom
from keyfleet_workers.metrics.exporter_process import BROKER_TIMEOUT_S
from keyfleet_workers.metrics.fleet_collector import FleetCollector
from keyfleet_workers.metrics.http_server import MetricsServer
from keyfleet_workers.metrics.meter import Meter
from keyfleet_workers.metrics.pages import Pages
from keyfleet_workers.metrics.prometheus_meter import PrometheusMeter

__all__ = ["meter_in", "serving_meter"]


def meter_in(directory: Path, key_name: str) -> Meter:
    """The meter of a supervised worker process, which writes into `directory`. Raises OSError."""
    claim = Claim(directory)
    try:
        room = DiskRoom(directory)
    except OSError:
        claim.give_up()
        raise
    return PrometheusMeter(
        key_name,
        CollectorRegistry(),
        on_begin=claim.say,
        on_end=lambda: claim.say(""),
        before_new=room.for_one_more,
    )


def serving_meter(key_name: str, settings: Settings, broker_url: str) -> Meter:
    """The meter of a worker process without a supervisor, which serves its metrics by itself once it has begun.

    Its `began` raises ConfigurationError where it can't listen.
    """
    disable_created_metrics()  # a second series for each
    registry, serving = CollectorRegistry(), list[str]()
    client = connect(broker_url, timeout_s=BROKER_TIMEOUT_S)
    registry.register(FleetCollector(client, settings.fleet))
    pages = Pages(registry, client, workers=lambda: list(serving))

    def begin(worker_id: str) -> None:
        serving.append(worker_id)
        server = MetricsServer(pages, settings.metrics_address, settings.metrics_port or 0)
        threading.Thread(target=server.serve_forever, name="keyfleet-metrics", daemon=True).start()

    return PrometheusMeter(key_name, registry, on_begin=begin, on_end=serving.clear)
