"""What requests need around them: a server, and workers where they are not others' business."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import redis

from keyfleet.broker import ServerWatch, check_server, connect
from keyfleet.config import KeySource, Settings
from keyfleet.embedded import EmbeddedServer
from keyfleet.jobs import purge_abandoned_runs
from keyfleet.running.local_workers import LocalWorkers

__all__ = ["Backend", "concurrency_per_key", "open_backend", "worker_arguments"]


@dataclass(slots=True)
class Backend:
    """A server with its fleet. `server` and `workers` are None where they are others' business.

    `settings` have the broker and the fleet as they were found. For any thread.
    """

    settings: Settings
    server: EmbeddedServer | None
    workers: LocalWorkers | None = None
    _restarting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def url(self) -> str:
        """The broker's address, with its password."""
        return self.settings.broker_url or ""

    def connect(self) -> tuple[redis.Redis, ServerWatch]:
        """A client with a watch of its own: a change of the server is dealt with by one party for each watch."""
        watch = ServerWatch()
        return connect(self.url, watch=watch), watch

    def bring_server_back(self) -> None:
        """Start the embedded server again, if it is down. Raises BrokerUnavailable."""
        if self.server is not None:
            with self._restarting:
                self.server.restart_if_down()

    def start_workers(
        self, arguments: list[str], environment: dict[str, str], log_name: str, stack: ExitStack, *,
        ends_at_once: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Start a worker for each key; `stack` ends them, without waiting for their calls where `ends_at_once`."""
        settings = self.settings
        log_path = settings.state_dir / "logs" / f"workers-{log_name}.log"
        workers = self.workers = LocalWorkers(log_path, shutdown_s=settings.shutdown_timeout_s)
        stack.callback(lambda: workers.stop(at_once=ends_at_once()))
        inherit = [self.server.lock_descriptor] if self.server else []
        own = {
            "KEYFLEET_BROKER_URL": self.url,
            "KEYFLEET_BROKER_PASSWORD_FILE": "",  # the address has the password, if there is one
            "KEYFLEET_GUARD_MS": str(settings.guard_ms),
        }
        workers.start(arguments, {**own, **environment}, inherit)


def open_backend(settings: Settings, embedded_fleet: str, stack: ExitStack) -> Backend:
    """Find the broker that `settings` name, else start the embedded server with `embedded_fleet` as the fleet's name.

    `stack` gives back what was opened. Raises BrokerUnavailable.
    """
    server: EmbeddedServer | None = None
    if settings.broker_url is None:
        server = stack.enter_context(EmbeddedServer(settings.state_dir))
        settings = replace(settings, broker_url=server.url, broker_password_path=None, fleet=embedded_fleet)
    url = settings.broker_url or ""
    with connect(url) as client:
        check_server(client, url)
        if server is not None:
            purge_abandoned_runs(client, round(settings.outcome_ttl_s * 1000))
    return Backend(settings, server)


def worker_arguments(
    settings: Settings,
    source: KeySource | None,
    *,
    base_url: str | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> list[str]:
    """The options of workers that are started here. They hold no secret: a broker's address travels in the
    environment."""
    arguments = ["--fleet", settings.fleet, "--use", f"{settings.use * 100:.6g}%"]
    arguments += ["--log-level", str(max(settings.log_level, logging.INFO)), "--log-format", settings.log_format]
    given: dict[str, object] = {
        "--concurrency": concurrency_per_key(settings, source),
        "--keys": source.path if source is not None else None,
        "--base-url": base_url,
        "--requests-per-minute": requests_per_minute,
        "--tokens-per-minute": tokens_per_minute,
    }
    for option, value in given.items():
        if value is not None:
            arguments += [option, str(value)]
    return arguments


def concurrency_per_key(settings: Settings, source: KeySource | None) -> int | None:
    """Most calls of one worker, so that all workers together keep to the bound of this host, where there is one."""
    if settings.max_calls is None or source is None:
        return settings.concurrency
    workers = sum(key.workers for key in source.keys)
    share = max(1, settings.max_calls // workers)
    return share if settings.concurrency is None else min(share, settings.concurrency)
