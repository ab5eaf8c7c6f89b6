"""Opening the files of a job: one that begins, one that is gone on with, or a retry of what failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from operator import length_hint
from typing import TypeVar

from keyfleet.batch.job import JobFiles, JobOptions, NothingToDo, new_job, open_job
from keyfleet.batch.lines import open_input
from keyfleet.batch.retry_failed import open_retry
from keyfleet.errors import ConfigurationError, InputError
from keyfleet.fleet_jobs.assembly import OpenedFleet, Task
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.fleet_jobs.intake import Intake, SpooledLines
from keyfleet.fleet_jobs.journal_tail import is_locked
from keyfleet.fleet_jobs.rows import RowId

__all__ = ["task_of_new", "task_of_retry", "task_that_goes_on"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

TRIES = 5
"""How often a journal is opened that somebody just looks at, which locks it for an instant."""


def task_of_new(fleet: OpenedFleet, spec: JobSpec, requests: Iterable[object], row_id: RowId) -> Task:
    """A job that begins. Raises InputError where it can't be kept."""
    expected_rows = length_hint(requests) or None  # asks the caller's object, which may raise anything
    folder = JobFolder(fleet.backend.settings.state_dir / "jobs" / spec.job_id)
    folder.create()
    with ExitStack() as undoing:
        undoing.callback(folder.remove)
        intake = Intake(requests, row_id, folder)
        undoing.callback(intake.close)
        lines = SpooledLines(folder.input, intake)
        files = new_job(lines, folder.results, "fleet", spec.job_id, _options(spec))
        undoing.callback(files.close)
        folder.write_spec(spec)
        undoing.pop_all()
    return Task(folder, spec, fleet, files, intake, expected_rows=expected_rows)


def task_that_goes_on(fleet: OpenedFleet, folder: JobFolder) -> Task | None:
    """A job that nobody runs; None where it is done, or somebody runs it. Raises InputError and ConfigurationError."""
    spec = folder.spec()
    if is_locked(folder.paths.journal):
        return None
    _check_server(fleet, spec)
    rows = folder.mend_input()
    files = _opened(folder, spec)
    if files is None:
        return None
    end = folder.end()
    if end is None or not end.is_complete:
        logger.warning(
            "job %s: its program ended before its iterable was read to the end; the %d requests that were read are "
            "finished, the rest has to be submitted again",
            spec.job_id,
            rows,
        )
    return Task(folder, spec, fleet, files, rows=rows)


def task_of_retry(fleet: OpenedFleet, folder: JobFolder, reasons: tuple[str, ...]) -> Task | None:
    """A retry of a done job's failed requests; None where there are none. Raises InputError and ConfigurationError."""
    spec = folder.spec()
    _check_server(fleet, spec)
    opened = _locked(folder, lambda: open_retry(str(folder.input), folder.results, _options(spec, reasons)))
    if isinstance(opened, NothingToDo):
        return None
    folder.forget_cancel()
    return Task(folder, spec, fleet, opened, rows=opened.finished_lines)


def _opened(folder: JobFolder, spec: JobSpec) -> JobFiles | None:
    """The files of a job that isn't done, locked; None where it is, or where somebody else has locked them."""
    try:
        opened = _locked(folder, lambda: _open(folder, spec))
    except InputError:
        if is_locked(folder.paths.journal):
            return None
        raise
    return None if isinstance(opened, NothingToDo) else opened


def _open(folder: JobFolder, spec: JobSpec) -> JobFiles | NothingToDo:
    if folder.paths.journal.exists() and folder.paths.journal.stat().st_size:
        return open_job(str(folder.input), folder.results, _options(spec))
    return new_job(open_input(str(folder.input)), folder.results, "fleet", spec.job_id, _options(spec))


def _locked(folder: JobFolder, open_files: Callable[[], T]) -> T:
    """What `open_files` gives, tried again where somebody has only looked whether the journal is locked."""
    for _ in range(TRIES - 1):
        try:
            return open_files()
        except InputError:
            if is_locked(folder.paths.journal):
                raise
    return open_files()


def _options(spec: JobSpec, reasons: tuple[str, ...] = ()) -> JobOptions:
    return JobOptions(url=spec.endpoint, ordered=spec.ordered, reasons=reasons, format="fleet")


def _check_server(fleet: OpenedFleet, spec: JobSpec) -> None:
    """What the other server may have of it can't be known, so that it might be paid for twice."""
    is_embedded = fleet.backend.server is not None
    if is_embedded != spec.is_embedded:
        server = "this host's own server (a Fleet without broker_url)" if spec.is_embedded else "a broker (broker_url)"
        raise ConfigurationError(
            f"job {spec.job_id[:8]} was begun on {server}; go on with it there", setting="broker_url"
        )
