"""Finding or starting what a run needs around it: the server, the workers, and the job's place in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import redis

from keyfleet.batch.endpoints import split_url
from keyfleet.batch.job import JobFiles
from keyfleet.batch.retry_failed import RetryJob
from keyfleet.broker import ServerWatch, celery_url, check_server, connect
from keyfleet.config import KeySource, Settings
from keyfleet.embedded import EmbeddedServer
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.running.local_workers import LocalWorkers
from keyfleet.running.options import RunOptions
from keyfleet.tickets import TicketOffice, make_app

__all__ = ["Connection", "concurrency_per_key", "open_connection", "worker_arguments"]

FLEET_ID_CHARACTERS = 24
"""How much of a job's id names its fleet on the embedded server."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Connection:
    """What a run works with. `server` and `workers` are None where they are others' business.

    `settings` are those of the run, with the broker and the fleet as they were found.
    """

    settings: Settings
    client: redis.Redis
    watch: ServerWatch
    ledger: JobLedger
    tickets: TicketOffice
    server: EmbeddedServer | None
    workers: LocalWorkers | None = None
    is_done: bool = False

    def job_is_done(self) -> None:
        """Remove the job from the ledger. A broker that is away keeps a few bytes of it, and the job is done."""
        self.is_done = True
        try:
            self.ledger.close()
        except redis.RedisError as error:
            logger.warning("what is left of the job stays in the broker (%s)", type(error).__name__)

    def forget_fleet(self) -> None:
        """The embedded server keeps nothing of a run that is done. To be called when its workers have ended."""
        if self.server is None or not self.is_done:
            return
        try:
            if keys := list(self.client.scan_iter(match=f"{{keyfleet}}:{self.settings.fleet}:*", count=1000)):
                self.client.unlink(*keys)
        except redis.RedisError as error:
            logger.info("the run's traces stay in the embedded server (%s)", type(error).__name__)


def open_connection(
    settings: Settings,
    options: RunOptions,
    source: KeySource | None,
    files: JobFiles | RetryJob,
    stack: ExitStack,
    *,
    uses_local_workers: bool,
    ends_at_once: Callable[[], bool],
) -> Connection:
    """Find or start the server and the workers; `stack` gives them back. Raises BrokerUnavailable."""
    server: EmbeddedServer | None = None
    if settings.broker_url is None:
        server = stack.enter_context(EmbeddedServer(settings.state_dir))
        settings = replace(settings, broker_url=server.url, fleet=f"run-{files.job_id[:FLEET_ID_CHARACTERS]}")
    url = settings.broker_url or ""
    watch = ServerWatch()
    client = connect(url, watch=watch)
    stack.callback(client.close)
    check_server(client, url)
    job_options = JobOptions(
        max_attempts=settings.max_attempts,
        timeout_s=settings.timeout_s,
        timeout_attempts=settings.timeout_attempts,
        echo=files.format == "bare",
    )
    ledger = JobLedger(client, settings.fleet, files.job_id, job_options)
    tickets = TicketOffice(make_app(celery_url(url), settings.fleet))
    stack.callback(tickets.close)
    connection = Connection(settings, client, watch, ledger, tickets, server)
    stack.callback(connection.forget_fleet)
    if uses_local_workers:
        log_path = settings.state_dir / "logs" / f"workers-{files.job_id[:FLEET_ID_CHARACTERS]}.log"
        workers = connection.workers = LocalWorkers(log_path)
        stack.callback(lambda: workers.stop(at_once=ends_at_once()))
        inherit = [server.lock_descriptor] if server else []
        environment = {"KEYFLEET_BROKER_URL": url, "KEYFLEET_GUARD_MS": str(settings.guard_ms)}
        workers.start(worker_arguments(settings, options, source), environment, inherit)
    return connection


def worker_arguments(settings: Settings, options: RunOptions, source: KeySource | None) -> list[str]:
    """The options of this run's own workers. They hold no secret: a broker's address travels in the environment."""
    arguments = ["--fleet", settings.fleet, "--use", f"{settings.use * 100:.6g}%"]
    arguments += ["--log-level", str(max(settings.log_level, logging.INFO))]
    concurrency = concurrency_per_key(settings, source)
    if concurrency is not None:
        arguments += ["--concurrency", str(concurrency)]
    if source is not None and source.path is not None:
        arguments += ["--keys", str(source.path)]
    base_url = split_url(options.url)[0] if options.url else None
    if base_url:
        arguments += ["--base-url", base_url]
    for name, limit in (
        ("--requests-per-minute", options.requests_per_minute),
        ("--tokens-per-minute", options.tokens_per_minute),
    ):
        if limit is not None:
            arguments += [name, str(limit)]
    return arguments


def concurrency_per_key(settings: Settings, source: KeySource | None) -> int | None:
    """Most calls of one worker, so that all workers together keep to the bound of this host, where there is one."""
    if settings.max_calls is None or source is None:
        return settings.concurrency
    workers = sum(key.workers for key in source.keys)
    share = max(1, settings.max_calls // workers)
    return share if settings.concurrency is None else min(share, settings.concurrency)
