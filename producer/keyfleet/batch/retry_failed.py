"""Sending only the failed lines of a done job again.

A retry is a job of its own with its own journal, `<output>.retry` and `<output>.retry.keyfleet`, so it can be
interrupted and resumed like any other. When all its lines have an outcome, these take the places of the old ones.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from keyfleet.batch import merge
from keyfleet.batch.input_check import has_more_than
from keyfleet.batch.job import JobOptions, NothingToDo, check_same_job, line_format_of
from keyfleet.batch.job_paths import JobPaths, check_paths, default_output
from keyfleet.batch.journal import Journal
from keyfleet.batch.journal_state import JournalHeader, JournalState
from keyfleet.batch.line_set import LineSet
from keyfleet.batch.lines import Fed, InputLines, open_input
from keyfleet.batch.parse import LineFormat
from keyfleet.batch.writer import ResultWriter, check_recorded
from keyfleet.errors import InputError

__all__ = ["RetryJob", "is_meant", "open_retry"]

UNKNOWN_REASON = "unknown"
"""Stands for the reason of lines whose journal tells none."""

MOST_SHOWN = 20
"""Reasons that a message names."""


@dataclass(slots=True)
class RetryJob:
    """The open files of a retry; it is used as `job.JobFiles` is, and `wants` says which lines are to be sent.

    `job_id` is the retry's own, `row_job_id` that of the job whose rows it makes. The counts are the main job's:
    before `finish` with the old outcomes, then with the new.
    """

    format: LineFormat
    paths: JobPaths
    lines: InputLines
    journal: Journal
    retry_journal: Journal
    writer: ResultWriter
    targets: LineSet
    """The failed lines that this retry sends again."""

    @property
    def job_id(self) -> str:
        return self.retry_journal.state.header.job_id

    @property
    def row_job_id(self) -> str:
        return self.journal.state.header.job_id

    @property
    def own_state(self) -> JournalState:
        """What this very retry has written."""
        return self.retry_journal.state

    @property
    def written(self) -> LineSet:
        """The lines that have a new outcome already."""
        return self.retry_journal.state.written

    def wants(self, line_number: int) -> bool:
        """Whether a line is to be sent again and has no new outcome yet; for any thread to ask."""
        return line_number in self.targets and line_number not in self.written

    @property
    def left(self) -> int:
        """How many lines still are to be sent."""
        return len(self.targets) - len(self.written)

    @property
    def finished_lines(self) -> int:
        return self.journal.state.finished_lines

    @property
    def failed_lines(self) -> int:
        return self.journal.state.failed_lines

    @property
    def exit_code(self) -> int:
        return 1 if self.failed_lines else 0

    def finish(self, fed: Fed) -> None:
        """Every failed line has a new outcome: put them in the places of the old. Takes as long as copying the output.

        A kill leaves either the old files or the new ones; opening the job or the retry again completes the rest.
        """
        if self.left:
            raise InputError(f"{self.paths.output}: {self.left} failed lines have no new result yet")
        self.writer.finish(fed)
        self.writer.close()
        self.journal = merge.merge(self.paths, self.journal, self.retry_journal)

    def close(self) -> None:
        self.lines.close()
        self.writer.close()
        self.retry_journal.close()
        self.journal.close()


def open_retry(input_name: str, output: Path | None, options: JobOptions) -> RetryJob | NothingToDo:
    """Open a retry, new or interrupted. NothingToDo: no line failed, or only putting the results together was left.

    Raises InputError where `open_job` does, for a job that isn't done, which is to be finished first, for reasons that
    no line has failed for, and for a retry that was interrupted and had others.
    """
    output = default_output(input_name) if output is None else output
    lines = open_input(input_name)
    try:
        line_format = options.format or line_format_of(lines)
        paths = JobPaths.for_format(output, line_format)
        check_paths(input_name, paths)
        wanted = JournalHeader("", lines.name, line_format, options.ordered, options.url, resumable=lines.resumable)
        opened = _open_retry(paths, wanted, lines, line_format, options.reasons)
    except BaseException:
        lines.close()
        raise
    if isinstance(opened, NothingToDo):
        lines.close()
    return opened


def _open_retry(
    paths: JobPaths, wanted: JournalHeader, lines: InputLines, line_format: LineFormat, reasons: tuple[str, ...]
) -> RetryJob | NothingToDo:
    main = _open_done(paths, wanted)
    retry_journal: Journal | None = None
    try:
        if not main.state.failed_lines:
            return _closed(paths, main)
        targets = _targets(paths, main, reasons)
        retry_journal = _open_retry_journal(paths.retry(), main.state.header, reasons)
        if retry_journal.state.done:
            main = merge.merge(paths, main, retry_journal)
            retry_journal.close()
            return _closed(paths, main)
        check_recorded(paths.retry(), retry_journal)
        writer = ResultWriter(paths.retry(), retry_journal)
        return RetryJob(line_format, paths, lines, main, retry_journal, writer, targets)
    except BaseException:
        main.close()
        if retry_journal is not None:
            retry_journal.close()
        raise


def _open_done(paths: JobPaths, wanted: JournalHeader) -> Journal:
    if not paths.journal.exists():
        raise InputError(f"{paths.output}: there is nothing to retry; {paths.journal.name} is missing")
    journal = Journal.open(paths.journal)
    try:
        check_same_job(paths, journal.state, wanted)
        has_more_than(wanted.input_name, journal.state.fed)
        merge.complete(paths, journal)
        check_recorded(paths, journal)
        if not journal.state.done:
            raise InputError(
                f"{paths.output}: the job isn't done; finish it first with the same command without --retry-failed"
            )
    except BaseException:
        journal.close()
        raise
    return journal


def _targets(paths: JobPaths, main: Journal, reasons: tuple[str, ...]) -> LineSet:
    """The failed lines, or those of them that failed for one of `reasons`."""
    if not reasons:
        return main.state.failed
    targets, known = LineSet(), set()
    for reason, numbers in main.failures():
        known.add(reason)
        if is_meant(reason, reasons):
            for number in numbers:
                targets.add(number)
    if not len(targets):
        names = sorted(reason or UNKNOWN_REASON for reason in known)
        shown = ", ".join(names[:MOST_SHOWN]) + (", …" if len(names) > MOST_SHOWN else "")
        raise InputError(f"{paths.output}: no line has failed for {', '.join(reasons)}; there are: {shown}")
    return targets


def is_meant(reason: str, wanted: tuple[str, ...]) -> bool:
    """Whether one of `wanted` is the reason itself (`400 context_length_exceeded`), its status, or its code."""
    reason = reason or UNKNOWN_REASON
    return any(one in (reason, *reason.split(" ", 1)) for one in wanted)


def _open_retry_journal(retry: JobPaths, main: JournalHeader, reasons: tuple[str, ...]) -> Journal:
    """The journal of an interrupted retry of this very job, else a fresh one."""
    if retry.journal.exists():
        journal = Journal.open(retry.journal)
        if not journal.empty and journal.state.header.parent_job_id == main.job_id:
            if set(journal.state.header.reasons) == set(reasons):
                return journal
            journal.close()
            begun = ", ".join(journal.state.header.reasons) or "all that failed"
            raise InputError(f"{retry.output}: a retry of other lines ({begun}) was interrupted; finish that one first")
        journal.close()
    header = replace(
        main, job_id=uuid.uuid4().hex, ordered=False, parent_job_id=main.job_id, replaces=False, reasons=reasons
    )
    return Journal.overwrite(retry.journal, header)


def _closed(paths: JobPaths, journal: Journal) -> NothingToDo:
    state = journal.state
    journal.close()
    return NothingToDo(paths, state.finished_lines, state.failed_lines)
