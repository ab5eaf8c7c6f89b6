"""The Celery application of a worker."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps
from celery.exceptions import Retry
from celery.signals import setup_logging

from keyfleet.broker import celery_url
from keyfleet.config import Environment, Settings, find_keys
from keyfleet.errors import ConfigurationError
from keyfleet.ticket_message import TASK_NAME
from keyfleet.tickets import make_app
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.consumption import consumer_step, ticket_queue
from keyfleet_workers.exit_codes import KEY_SET_ASIDE
from keyfleet_workers.leaving import Leaver
from keyfleet_workers.metrics import NO_METER, Meter
from keyfleet_workers.runtime import WorkerRuntime
from keyfleet_workers.ticket_transport import guard_tickets
from keyfleet_workers.worker_logs import log_without_secrets

__all__ = ["build_app", "build_app_from_environment"]

logger = logging.getLogger(__name__)

SPARE_THREADS = 32
"""Threads that serve tickets beyond the most calls: a chunk has a call under way, or stands and waits for its queue."""


class ChunkFailed(Exception):
    """Requests of a chunk have failed for good. Their outcomes are delivered: this is for Flower's row."""


class ChunkRetried(Exception):
    """Requests of a chunk are in backoff."""


def build_app(
    settings: Settings,
    binding: KeyBinding,
    broker_url: str,
    *,
    leaver: Leaver | None = None,
    is_supervised: bool = False,
    ends_when_set_aside: bool = False,
    meter: Meter = NO_METER,
) -> Celery:
    """The application that serves `binding`'s key on the broker at `broker_url`. Opens no connection.

    `ends_when_set_aside`: once the key can't be used for now, the process ends with KEY_SET_ASIDE.
    """
    leaver = leaver or Leaver(settings.shutdown_timeout_s)
    app = make_app(celery_url(broker_url), settings.fleet, "keyfleet_workers")
    on_set_aside = partial(leaver.leave, KEY_SET_ASIDE) if ends_when_set_aside else None
    runtime = WorkerRuntime(app, settings, binding, broker_url, on_set_aside=on_set_aside, meter=meter)
    leaver.leave_with(runtime)
    guard_tickets(app, runtime.note_refused)
    app.conf.update(
        worker_pool="threads",
        worker_concurrency=runtime.most_calls + SPARE_THREADS,
        task_queues=[ticket_queue(f"keyfleet.{binding.name}")],
    )

    @app.task(name=TASK_NAME, bind=True, throws=(ChunkFailed,))  # type: ignore[untyped-decorator, unused-ignore] # Celery has no types
    def chunk(task: Any, count: int) -> str:
        ticket_id = task.request.id
        tell = partial(runtime.consumption.say_what, ticket_id)
        end = runtime.run_chunk(task.request.delivery_info["routing_key"], count, tell)
        if end.has_failures:
            raise ChunkFailed(str(end))
        if end.has_retries:
            raise Retry(exc=ChunkRetried(str(end)))
        return str(end)

    app.steps["worker"].add(_runtime_step(runtime, leaver, is_supervised))
    app.steps["consumer"].add(consumer_step(runtime.consumption))
    return app


def _runtime_step(runtime: WorkerRuntime, leaver: Leaver, is_supervised: bool) -> type[bootsteps.StartStopStep]:
    class RuntimeStep(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, worker: Any) -> None:
            leaver.handle_signals(is_supervised=is_supervised)
            runtime.start()

        def stop(self, worker: Any) -> None:
            leaver.stop()  # else Celery would end the process with answers that are not delivered yet

    return RuntimeStep


def build_app_from_environment() -> Celery:
    """The application for `celery -A keyfleet_workers worker`: the key is KEYFLEET_KEY, or the only one configured.

    Raises ConfigurationError that says by name what to type.
    """
    env = Environment.read()
    settings = Settings.from_environment(env)
    if settings.broker_url is None:
        raise ConfigurationError(
            "KEYFLEET_BROKER_URL is not set; set it, or type: keyfleet worker --key NAME --broker redis://HOST:6379/0",
            setting="KEYFLEET_BROKER_URL",
        )
    source = find_keys(option_path=None, env=env, cwd=Path.cwd())
    names = [key.name for key in source.keys]
    wanted = env.get("KEYFLEET_KEY") or (names[0] if len(names) == 1 else None)
    if wanted not in names:
        raise ConfigurationError(
            f"a worker serves one key: set KEYFLEET_KEY to one of {', '.join(names)}, "
            f"or type: keyfleet worker --key {names[0]}",
            setting="KEYFLEET_KEY",
        )
    key = next(key for key in source.keys if key.name == wanted)
    binding = KeyBinding.of(key, env, settings)
    if settings.log_format != "text":
        _log_in_our_format(settings, binding, settings.broker_url)
    return build_app(settings, binding, settings.broker_url, meter=_meter(settings, key.name, settings.broker_url))


def _log_in_our_format(settings: Settings, binding: KeyBinding, broker_url: str) -> None:
    """Celery, which knows no other format than its own, leaves logging to whoever answers this signal."""

    def set_up(loglevel: int | None = None, **_: Any) -> None:
        log_without_secrets(replace(settings, log_level=loglevel or settings.log_level), binding, broker_url)

    setup_logging.connect(set_up, weak=False)


def _meter(settings: Settings, key_name: str, broker_url: str) -> Meter:
    if settings.metrics_port is None:
        return NO_METER
    from keyfleet_workers.metrics.opening import serving_meter  # brings prometheus_client, which not every worker needs

    return serving_meter(key_name, settings, broker_url)
