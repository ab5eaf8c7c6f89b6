"""`keyfleet jobs retry`: failed requests of a job once more, all of them or by reason."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from keyfleet.batch.job_paths import JobPaths
from keyfleet.batch.journal import read_header
from keyfleet.batch.lines import STANDARD_INPUT
from keyfleet.cli import options
from keyfleet.cli.call_options import call_options, run_part, settings_part
from keyfleet.cli.jobs_server import open_jobs_server
from keyfleet.cli.run_job import run_job
from keyfleet.config import Environment, Settings
from keyfleet.errors import InputError
from keyfleet.jobs.finding import short_id
from keyfleet.ledger import JobRecord
from keyfleet.running import RunOptions
from keyfleet.running.job_facts import this_host

__all__ = ["retry"]


@click.command()
@click.argument("job")
@click.option(
    "--reason",
    "reasons",
    metavar="CODE",
    multiple=True,
    help="Only what failed for this reason, as `jobs failed` shows it: status and code, or one of them; repeatable.",
)
@call_options
def retry(job: str, reasons: tuple[str, ...], **given: Any) -> None:
    """Send the failed requests of JOB again, as `keyfleet run INPUT --retry-failed` does.

    The new outcomes take the places of the old ones. Exit codes are those of `keyfleet run`.
    """
    with open_jobs_server() as server:
        record = server.find(job, prefers_whole=True)
    _check_host(record, reasons)
    env = Environment.read()
    given = _with_group(options.fill_from_dotenv(given, env))
    settings = Settings.from_environment(env).with_options(**settings_part(given))
    sys.exit(run_job(_run_options(record, reasons, given, settings), settings, env))


def _with_group(given: dict[str, Any]) -> dict[str, Any]:
    """Options that were given before the command's name count as well."""
    group = click.get_current_context().parent
    above = group.params if group is not None else {}
    missing = {name: above.get(name) for name in ("broker_url", "fleet") if given[name] is None}
    return {**given, **missing}


def _check_host(record: JobRecord, reasons: tuple[str, ...]) -> None:
    """Raises InputError where the job's files are not to be found here."""
    facts = record.facts
    name = f"job {short_id(record.job_id)} ({facts.name})"
    if facts.input == STANDARD_INPUT:
        raise InputError(f"{name}: its requests came from a stream, which can't be read again")
    if facts.host != this_host() and not JobPaths.of(Path(facts.output), errors=None).journal.exists():
        command = " ".join(["keyfleet jobs retry", record.job_id, *(f"--reason '{reason}'" for reason in reasons)])
        raise InputError(f"{name}: its files are on {facts.host} ({facts.output}); type there: {command}")


def _run_options(record: JobRecord, reasons: tuple[str, ...], given: dict[str, Any], settings: Settings) -> RunOptions:
    """As the job was begun: its journal knows how."""
    output = Path(record.facts.output)
    begun = read_header(JobPaths.of(output, errors=None).journal)
    return RunOptions(
        input_name=record.facts.input,
        output=output,
        url=begun.url,
        ordered=begun.ordered,
        retry_failed=True,
        retry_reasons=reasons,
        retried_fleet=record.fleet,
        stop_early=settings.stop_early,
        pack_inputs=settings.pack_inputs if settings.pack else None,
        **run_part(given),
    )
