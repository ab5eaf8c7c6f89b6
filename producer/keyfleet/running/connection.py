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
from keyfleet.jobs import forget_fleet, purge_abandoned_runs, run_fleet
from keyfleet.ledger import Closing, JobLedger, JobOptions, JobTotals
from keyfleet.running.job_facts import facts_of
from keyfleet.running.local_workers import LocalWorkers
from keyfleet.running.options import RunOptions
from keyfleet.tickets import TicketOffice, make_app

__all__ = ["Connection", "concurrency_per_key", "open_connection", "worker_arguments"]

LOG_ID_CHARACTERS = 24
"""How much of a job's id names the log of its workers."""

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
    retry_of: str | None = None
    is_done: bool = False

    def job_is_done(self, totals: JobTotals | None = None) -> None:
        """Close the job in the ledger; of a retry, the job whose lines it has sent.

        A broker that is away keeps a few bytes of it, and the job is done.
        """
        self.is_done = True
        into = None
        if self.retry_of is not None:
            into = (self.settings.fleet if self.server is None else run_fleet(self.retry_of), self.retry_of)
        try:
            self.ledger.close(Closing(totals, into))
        except redis.RedisError as error:
            logger.warning("what is left of the job stays in the broker (%s)", type(error).__name__)

    def leave_job(self) -> None:
        """Say that nobody runs the job from now on. Where that can't be said, it shows by itself after some seconds."""
        try:
            self.ledger.say_alive(leaves=True)
        except redis.RedisError as error:
            logger.info("the broker doesn't answer at the end (%s)", type(error).__name__)

    def forget_fleet(self) -> None:
        """Keep nothing but the record of a run that is done on the embedded server, once its workers have ended."""
        if self.server is None or not self.is_done:
            return
        try:
            forget_fleet(self.client, self.settings.fleet, keep_jobs=True)
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
        settings = replace(settings, broker_url=server.url, fleet=run_fleet(files.job_id))
    url = settings.broker_url or ""
    watch = ServerWatch()
    client = connect(url, watch=watch)
    stack.callback(client.close)
    check_server(client, url)
    if server is not None:
        purge_abandoned_runs(client, round(settings.outcome_ttl_s * 1000))
    job_options = JobOptions(
        max_attempts=settings.max_attempts,
        timeout_s=settings.timeout_s,
        timeout_attempts=settings.timeout_attempts,
        echo=files.format == "bare",
    )
    facts = facts_of(files, options.input_name)
    keep_ms = round(settings.keep_jobs_s * 1000)
    ledger = JobLedger(client, settings.fleet, files.job_id, job_options, facts=facts, keep_ms=keep_ms)
    tickets = TicketOffice(make_app(celery_url(url), settings.fleet))
    stack.callback(tickets.close)
    connection = Connection(settings, client, watch, ledger, tickets, server, retry_of=facts.retry_of or None)
    stack.callback(connection.forget_fleet)
    if uses_local_workers:
        log_path = settings.state_dir / "logs" / f"workers-{files.job_id[:LOG_ID_CHARACTERS]}.log"
        workers = connection.workers = LocalWorkers(log_path, shutdown_s=settings.shutdown_timeout_s)
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
