"""`keyfleet status`: how the fleet stands, and why something waits."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from keyfleet.cli import options
from keyfleet.cli.jobs_server import JobsServer, open_jobs_server
from keyfleet.cli.jobs_tables import print_table
from keyfleet.errors import BrokerUnavailable, JobNotFound
from keyfleet.jobs.listing import open_counts, queue_names
from keyfleet_workers.cli.status_tables import status_picture
from keyfleet_workers.overview import Overview, overview_document, read_overview
from keyfleet_workers.overview.explaining import explain_job, explain_request
from keyfleet_workers.overview.places import find_by_custom_id, find_request

__all__ = ["status"]

WATCH_S = 1.0
"""Interval of looking again with --watch (s); workers speak as often."""


NARROW_COLUMNS = 140
"""On a terminal that is narrower than this, what would be missed least is left out."""


@click.command(short_help="See how the fleet stands, and why something waits.")
@click.argument("what", metavar="[REQUEST_OR_JOB]", required=False)
@options.broker
@options.fleet
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch a line each time.")
def status(what: str | None, watch: bool, as_json: bool, **given: Any) -> None:
    """Show keys with their limits, queues and why they wait, and jobs with the time that they will take.

    With a job (its id, the beginning of it, or its input or output), or a request (JOB:LINE, or its custom_id), say in
    a sentence why that waits. Without --broker it is the runs of this machine's embedded server. No key's secret is
    needed.

    \b
      keyfleet status
      keyfleet status --watch
      keyfleet status requests.jsonl             why does the job wait?
      keyfleet status requests.jsonl:17          why does the request on line 17?
    """
    if what is not None and watch:
        raise click.UsageError("--watch shows the whole fleet; ask for a request or a job without it")
    if watch:
        _watch(as_json)
    with open_jobs_server() as server:
        if what is not None:
            _explain(server, what, as_json)
        elif as_json:
            click.echo(json.dumps(_document(_overviews(server)), indent=2))
        else:
            print_table(status_picture(_overviews(server), is_narrow=_is_narrow()))


def _is_narrow() -> bool:
    return sys.stdout.isatty() and Console().width < NARROW_COLUMNS


def _overviews(server: JobsServer) -> list[Overview]:
    return [read_overview(server.client, fleet) for fleet in server.fleets]


def _document(overviews: list[Overview]) -> list[dict[str, Any]]:
    return [overview_document(overview) for overview in overviews]


def _watch(as_json: bool) -> NoReturn:
    """Show what is there until Ctrl-C; while the broker is away, what was there last. Raises BrokerUnavailable where it
    was never there."""
    pause = threading.Event()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    if as_json:
        for overviews, trouble in _looks():
            if trouble:
                click.echo(trouble, err=True)
            else:
                click.echo(json.dumps(_document(overviews)))
            pause.wait(WATCH_S)
    with Live(Group(), console=Console(), auto_refresh=False, screen=Console().is_terminal) as live:
        for overviews, trouble in _looks():
            picture = status_picture(overviews, is_narrow=_is_narrow())
            live.update(Group(Text(trouble, style="red"), Text(), picture) if trouble else picture, refresh=True)
            pause.wait(WATCH_S)
    raise AssertionError("looks never end")


def _looks() -> Iterator[tuple[list[Overview], str]]:
    """What is seen at each look, and what is wrong with that."""
    seen: list[Overview] | None = None
    seen_at = ""
    while True:
        try:
            with open_jobs_server() as server:
                while server.is_there or seen is None:
                    seen, seen_at = _overviews(server), time.strftime("%X")
                    yield seen, ""
        except BrokerUnavailable as error:
            if seen is None:
                raise
            yield seen, f"{error}; this is how it was at {seen_at}"


def _explain(server: JobsServer, what: str, as_json: bool) -> None:
    fleet, job_id, request_id = _find(server, what)
    overview = read_overview(server.client, fleet)
    job = next((job for job in overview.jobs if job.record.job_id == job_id), None)
    if job is None:
        raise JobNotFound(f"{what}: the job has just been removed")
    if request_id is None:
        counts = {
            queue: found[job_id]
            for queue in queue_names(server.client, fleet)
            if job_id in (found := open_counts(server.client, fleet, [queue], job_id))
        }
        sentence = explain_job(overview, job, counts)
    else:
        sentence = explain_request(overview, job, find_request(server.client, fleet, job_id, request_id), request_id)
    click.echo(json.dumps({"job": job_id, "request": request_id, "why": sentence}) if as_json else sentence)


def _find(server: JobsServer, what: str) -> tuple[str, str, str | None]:
    """The fleet, the job's id, and the request's where one is meant. Raises JobNotFound."""
    try:
        record = server.find(what)
    except JobNotFound as not_found:
        name, colon, request_id = what.rpartition(":")
        if colon and name:
            try:
                record = server.find(name)
            except JobNotFound:
                return _find_by_custom_id(server, what, not_found)
            return record.fleet, record.job_id, request_id
        return _find_by_custom_id(server, what, not_found)
    return record.fleet, record.job_id, None


def _find_by_custom_id(server: JobsServer, what: str, not_found: JobNotFound) -> tuple[str, str, str]:
    found = [(fleet, *place) for fleet in server.fleets for place in find_by_custom_id(server.client, fleet, what)]
    if len(found) > 1:
        raise JobNotFound(f"{what}: {len(found)} open requests bear this custom_id; type JOB:LINE")
    if not found:
        raise JobNotFound(f"{not_found}; nor does an open request bear such a custom_id")
    return found[0]
