"""One job's place in the ledger of a backend that a run opens for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import redis

from keyfleet.batch.endpoints import split_url
from keyfleet.batch.job import JobFiles
from keyfleet.batch.retry_failed import RetryJob
from keyfleet.broker import ServerWatch
from keyfleet.config import KeySource, Settings
from keyfleet.jobs import forget_fleet, run_fleet
from keyfleet.ledger import Closing, JobFacts, JobLedger, JobOptions, JobTotals
from keyfleet.running.backend import Backend, open_backend, worker_arguments
from keyfleet.running.job_facts import facts_of
from keyfleet.running.options import RunOptions

__all__ = ["Connection", "open_connection"]

LOG_ID_CHARACTERS = 24
"""How much of a job's id names the log of its workers."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Connection:
    """What a job works with: its ledger, and a client with a watch of its own."""

    backend: Backend
    client: redis.Redis
    watch: ServerWatch
    ledger: JobLedger
    into: tuple[str, str] | None = None
    """Of a retry: fleet and id of the job whose failed lines it sends."""
    is_done: bool = False

    def job_is_done(self, totals: JobTotals | None = None) -> None:
        """Close the job in the ledger; of a retry, the job whose lines it has sent.

        A broker that is away keeps a few bytes of it, and the job is done.
        """
        self.is_done = True
        try:
            self.ledger.close(Closing(totals, self.into))
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
        if self.backend.server is None or not self.is_done:
            return
        try:
            forget_fleet(self.client, self.backend.settings.fleet, keep_jobs=True)
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
    backend = open_backend(settings, run_fleet(files.job_id), stack)
    client, watch = backend.connect()
    stack.callback(client.close)
    facts = facts_of(files, options.input_name)
    ledger = _job_ledger(client, backend.settings, files, facts)
    into = None
    if facts.retry_of:
        own_fleet = backend.settings.fleet if backend.server is None else run_fleet(facts.retry_of)
        into = (options.retried_fleet or own_fleet, facts.retry_of)
    connection = Connection(backend, client, watch, ledger, into)
    stack.callback(connection.forget_fleet)
    if uses_local_workers:
        arguments = worker_arguments(
            backend.settings,
            source,
            base_url=split_url(options.url)[0] if options.url else None,
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
        )
        backend.start_workers(arguments, {}, files.job_id[:LOG_ID_CHARACTERS], stack, ends_at_once=ends_at_once)
    return connection


def _job_ledger(client: redis.Redis, settings: Settings, files: JobFiles | RetryJob, facts: JobFacts) -> JobLedger:
    job_options = JobOptions(
        max_attempts=settings.max_attempts,
        timeout_s=settings.timeout_s,
        timeout_attempts=settings.timeout_attempts,
        echo=files.format == "bare",
    )
    keep_ms = round(settings.keep_jobs_s * 1000)
    return JobLedger(client, settings.fleet, files.job_id, job_options, facts=facts, keep_ms=keep_ms)
