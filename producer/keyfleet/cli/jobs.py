"""`keyfleet jobs`: which jobs there are, why requests failed, and what to do about it."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import click

from keyfleet.cli import options
from keyfleet.cli.jobs_retry import retry
from keyfleet.cli.jobs_server import JobsServer, open_jobs_server
from keyfleet.cli.jobs_tables import failure_document, failures_table, job_document, jobs_table, print_table
from keyfleet.config import parse_duration_s
from keyfleet.errors import ConfigurationError
from keyfleet.jobs import Cancelled, Purged, cancel_job, pause_job, purge_job, resume_job, withdraw_job
from keyfleet.jobs.finding import short_id
from keyfleet.ledger import JobRecord, JobState, read_failures
from keyfleet.running.fleet_status import read_fleet_status

__all__ = ["jobs"]

LOOK_S = 0.25
"""Interval of looking whether calls in flight have ended (s)."""

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True, short_help="List jobs; see, retry, pause, cancel and remove them.")
@options.broker
@options.fleet
@_as_json
def jobs(as_json: bool, **given: Any) -> None:
    """List jobs with their counts, and see, retry, pause, cancel or remove them.

    JOB is an id or its beginning, or the path of the job's input or output. Without --broker it is the jobs of this
    machine's embedded server.

    \b
      keyfleet jobs                              what there is
      keyfleet jobs failed requests.jsonl        why requests failed
      keyfleet jobs retry 3f2a --reason 400      send those that failed with status 400 once more
      keyfleet jobs pause 3f2a                   send nothing more of it until `keyfleet jobs resume 3f2a`
      keyfleet jobs cancel 3f2a                  stop spending
      keyfleet jobs purge --older-than 7d        forget what nobody needs
    """
    if click.get_current_context().invoked_subcommand is None:
        _list(as_json)


@jobs.command(name="list")
@options.broker
@options.fleet
@_as_json
def list_command(as_json: bool, **given: Any) -> None:
    """List jobs, the one begun last first."""
    _list(as_json)


def _list(as_json: bool) -> None:
    with open_jobs_server() as server:
        listed, now_ms = server.listed(), server.now_ms()
    if as_json:
        click.echo(json.dumps([job_document(job, now_ms) for job in listed], indent=2))
    elif not listed:
        click.echo("no jobs are known here", err=True)
    else:
        print_table(jobs_table(listed, now_ms))


@jobs.command()
@click.argument("job")
@options.broker
@options.fleet
@_as_json
def failed(job: str, as_json: bool, **given: Any) -> None:
    """Show why requests of JOB failed for good: by reason, with an example each."""
    with open_jobs_server() as server:
        record = server.find(job, prefers_whole=True)
        groups = read_failures(server.client, record.fleet, record.job_id)
    if as_json:
        click.echo(json.dumps([failure_document(group) for group in groups], indent=2))
    elif not groups:
        click.echo(f"nothing has failed in job {short_id(record.job_id)} ({record.facts.name})", err=True)
    else:
        print_table(failures_table(groups))


jobs.add_command(retry)


@jobs.command()
@click.argument("job")
@options.broker
@options.fleet
def pause(job: str, **given: Any) -> None:
    """Send nothing more of JOB until it is resumed: calls in flight finish, what waits keeps its place.

    The command that runs it waits, and says so.
    """
    with open_jobs_server() as server:
        record = server.find(job)
        name = f"job {short_id(record.job_id)} ({record.facts.name})"
        waiting = pause_job(server.client, record.fleet, record.job_id)
        if waiting is None:
            state = server.find(record.job_id).state(server.now_ms()).value
            raise ConfigurationError(f"{name} is {state}, so there is nothing to pause")
        click.echo(f"{name} is paused: {waiting:,} requests wait; `keyfleet jobs resume` lets it go on", err=True)


@jobs.command()
@click.argument("job")
@options.broker
@options.fleet
def resume(job: str, **given: Any) -> None:
    """Let a paused JOB go on, each request in its old place."""
    with open_jobs_server() as server:
        record = server.find(job)
        was_paused = resume_job(server.client, record.fleet, record.job_id)
        name = f"job {short_id(record.job_id)} ({record.facts.name})"
        click.echo(f"{name} {'goes on' if was_paused else 'was not paused'}", err=True)


@jobs.command()
@click.argument("job")
@options.broker
@options.fleet
def cancel(job: str, **given: Any) -> None:
    """Stop spending on JOB: what waits is taken back, calls in flight finish and are recorded.

    The command that ran it ends with exit code 3; the same command typed again goes on with the job.
    """
    with open_jobs_server() as server:
        record = server.find(job)
        cancelled = cancel_job(server.client, record.fleet, record.job_id)
        name = f"job {short_id(record.job_id)} ({record.facts.name})"
        if cancelled.state != JobState.CANCELLED.value:
            raise ConfigurationError(f"{name} is {cancelled.state}, so there is nothing to cancel")
        click.echo(f"{name} is cancelled: {cancelled.withdrawn:,} waiting requests were taken back", err=True)
        if cancelled.in_flight and not record.is_alive(server.now_ms()):
            _wait_for_calls(server, record, cancelled)


def _wait_for_calls(server: JobsServer, record: JobRecord, cancelled: Cancelled) -> None:
    """Where no producer does it: take back what workers give back, until no call is in flight."""
    click.echo(f"waiting for {cancelled.in_flight:,} calls in flight; Ctrl-C leaves them to the workers", err=True)
    pause = threading.Event()
    while read_fleet_status(server.client, record.fleet).workers:
        _, in_flight = withdraw_job(server.client, record.fleet, record.job_id)
        if not in_flight:
            return
        pause.wait(LOOK_S)


@jobs.command()
@click.argument("names", metavar="[JOB]...", nargs=-1)
@click.option(
    "--older-than",
    "older_than_s",
    metavar="TIME",
    callback=options.parsed(parse_duration_s),
    help="All jobs that no producer has run for so long, e.g. 7d.",
)
@click.option("--all-done", is_flag=True, help="All jobs that are done or cancelled.")
@click.option("--force", is_flag=True, help="Also jobs that are running: answers under way are then lost.")
@options.broker
@options.fleet
def purge(
    names: tuple[str, ...],
    older_than_s: float | None,
    all_done: bool,
    force: bool,
    **given: Any,
) -> None:
    """Remove what the server knows of jobs: records, outcomes that nobody collected, requests that wait.

    Files stay as they are, so a job that isn't done can still be gone on with. Exit code 1 where a job was kept.
    """
    if not names and older_than_s is None and not all_done:
        raise click.UsageError("name jobs, or give --older-than or --all-done")
    kept = 0
    with open_jobs_server() as server:
        chosen = {server.find(name).job_id for name in names}
        now_ms = server.now_ms()
        for record in server.records():
            if record.job_id not in chosen and not _is_meant(record, now_ms, older_than_s, all_done):
                continue
            purged = purge_job(server.client, record, force=force)
            kept += purged is not Purged.REMOVED
            why = "removed" if purged is Purged.REMOVED else f"kept, as {purged.value}"
            click.echo(f"job {short_id(record.job_id)} ({record.facts.name}): {why}", err=True)
    sys.exit(1 if kept else 0)


def _is_meant(record: JobRecord, now_ms: int, older_than_s: float | None, all_done: bool) -> bool:
    if record.is_alive(now_ms):
        return False
    is_over = record.state(now_ms) in (JobState.DONE, JobState.CANCELLED)
    is_old = older_than_s is not None and now_ms - record.seen_ms >= older_than_s * 1000
    return (all_done and is_over) or is_old
