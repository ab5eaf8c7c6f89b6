"""Opening a job's files: a new job, one to go on with, nothing to do, or a refusal that changes nothing."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from keyfleet.batch import durable, merge
from keyfleet.batch.input_check import has_more_than
from keyfleet.batch.job_paths import JobPaths, check_paths, default_output
from keyfleet.batch.journal import Journal
from keyfleet.batch.journal_state import JournalHeader, JournalState
from keyfleet.batch.line_set import LineSet
from keyfleet.batch.lines import Fed, InputLines, open_input
from keyfleet.batch.parse import LineFormat, detect_format
from keyfleet.batch.writer import ResultWriter, check_recorded
from keyfleet.errors import InputError

__all__ = ["JobFiles", "JobOptions", "NothingToDo", "check_same_job", "line_format_of", "new_job", "open_job"]

Action = Literal["new", "resume", "continue"]


@dataclass(frozen=True, slots=True)
class JobOptions:
    """`url` and `ordered` must be the same whenever a job is gone on with; `limit_lines` may change.

    `reasons` restricts a retry to lines that failed for one of them. `format` None: told by looking.
    """

    url: str | None = None
    ordered: bool = False
    limit_lines: int | None = None
    overwrite: bool = False
    reasons: tuple[str, ...] = ()
    format: LineFormat | None = None


@dataclass(frozen=True, slots=True)
class NothingToDo:
    """The job was done before and its input has nothing new. The exit code is that of the run that did it."""

    paths: JobPaths
    finished_lines: int
    failed_lines: int

    @property
    def exit_code(self) -> int:
        return 1 if self.failed_lines else 0


@dataclass(slots=True)
class JobFiles:
    """A job's open files. `lines` belongs to the thread that feeds, `writer` to the one that collects.

    `action` is `new`; `resume` after an interruption; `continue` where a job that was done has got new lines.
    `job_id` stays the same for as long as the output does.
    """

    action: Action
    format: LineFormat
    paths: JobPaths
    lines: InputLines
    journal: Journal
    writer: ResultWriter

    @property
    def job_id(self) -> str:
        return self.journal.state.header.job_id

    @property
    def row_job_id(self) -> str:
        """The id for `formats.row_maker`."""
        return self.job_id

    @property
    def own_state(self) -> JournalState:
        """What this very job has written."""
        return self.journal.state

    @property
    def written(self) -> LineSet:
        """The lines that have their row, in earlier runs and by now; for any thread to ask."""
        return self.journal.state.written

    def wants(self, line_number: int) -> bool:
        """Whether a line has no row yet; for any thread to ask."""
        return line_number not in self.written

    @property
    def finished_lines(self) -> int:
        return self.journal.state.finished_lines

    @property
    def failed_lines(self) -> int:
        return self.journal.state.failed_lines

    @property
    def exit_code(self) -> int:
        """That of a job which ends like this: 1 if any line failed."""
        return 1 if self.failed_lines else 0

    def finish(self, fed: Fed) -> None:
        """Every line up to `fed` has its row, and the input (or its limit) ends there."""
        self.writer.finish(fed)

    def close(self) -> None:
        """Let go of the files; what is not finished can be resumed."""
        self.lines.close()
        self.writer.close()
        self.journal.close()


def open_job(input_name: str, output: Path | None, options: JobOptions) -> JobFiles | NothingToDo:
    """Decide what is to be done for this input and output, and open what it takes.

    Raises InputError for every refusal: an output that isn't keyfleet's, one that another run is writing, one begun
    with other options, an input that was changed, files that can't be read or written. Nothing is changed then.
    """
    output = default_output(input_name) if output is None else output
    lines = open_input(input_name)
    try:
        line_format = options.format or line_format_of(lines)
        paths = JobPaths.for_format(output, line_format)
        check_paths(input_name, paths)
        header = JournalHeader(
            uuid.uuid4().hex, lines.name, line_format, options.ordered, options.url, resumable=lines.resumable
        )
        opened = _begin(paths, header) if options.overwrite else _begin_or_go_on(paths, header, options)
        if isinstance(opened, NothingToDo):
            lines.close()
            return opened
        action, journal = opened
        return JobFiles(action, line_format, paths, lines, journal, _writer(paths, journal))
    except BaseException:
        lines.close()
        raise


def new_job(lines: InputLines, output: Path, line_format: LineFormat, job_id: str, options: JobOptions) -> JobFiles:
    """Begin a job that is called `job_id`, whose files are nobody else's. Raises InputError."""
    paths = JobPaths.for_format(output, line_format)
    header = JournalHeader(job_id, lines.name, line_format, options.ordered, options.url, resumable=lines.resumable)
    try:
        action, journal = _begin(paths, header)
        return JobFiles(action, line_format, paths, lines, journal, _writer(paths, journal))
    except BaseException:
        lines.close()
        raise


def line_format_of(lines: InputLines) -> LineFormat:
    """Told by the first line that isn't blank; an input without lines counts as bare."""
    if not lines.resumable:
        first = lines.first_line()
    else:
        with open_input(lines.name) as probe:
            first = next((line for line in probe if not line.blank), None)
    return "bare" if first is None else detect_format(first.raw)


def check_same_job(paths: JobPaths, state: JournalState, wanted: JournalHeader) -> None:
    """Raises InputError if the output was begun with other options, or from an input that can't be read again."""
    begun = state.header
    if not (begun.resumable and wanted.resumable):
        raise InputError(
            f"{paths.output}: was written before, and a stream can't be read a second time; "
            "use --overwrite or another -o/--output"
        )
    options: tuple[tuple[str, str | bool | None, str | bool | None], ...] = (
        ("format", begun.format, wanted.format),
        ("--ordered", begun.ordered, wanted.ordered),
        ("--url", begun.url, wanted.url),
    )
    for name, was, now in options:
        if was != now:
            raise InputError(
                f"{paths.output}: was begun with {name} {_shown(was)}, and now it is {_shown(now)}; "
                "give the same again, or start anew with --overwrite"
            )


def _shown(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not given" if value is None else value


def _begin(paths: JobPaths, header: JournalHeader) -> tuple[Action, Journal]:
    """Start anew whatever is there. The new journal takes its place first; all else is surplus from then on."""
    journal = Journal.overwrite(paths.journal, header)
    for path in (*paths.retry().all(), *paths.merged().all()):
        durable.remove(path)
    return "new", journal


def _begin_or_go_on(
    paths: JobPaths, header: JournalHeader, options: JobOptions
) -> tuple[Action, Journal] | NothingToDo:
    if not paths.journal.exists():
        _refuse_foreign(paths)
    journal = Journal.open(paths.journal)
    try:
        if journal.empty:
            _refuse_foreign(paths)
            journal.start(header)
            return "new", journal
        return _go_on(paths, journal, header, options)
    except BaseException:
        journal.close()
        raise


def _go_on(
    paths: JobPaths, journal: Journal, header: JournalHeader, options: JobOptions
) -> tuple[Action, Journal] | NothingToDo:
    state = journal.state
    check_same_job(paths, state, header)
    more = has_more_than(header.input_name, state.fed)
    merge.complete(paths, journal)
    check_recorded(paths, journal)
    if not state.done:
        return "resume", journal
    limit = options.limit_lines
    if more and (limit is None or state.fed.line_number < limit):
        return "continue", journal
    journal.close()
    return NothingToDo(paths, state.finished_lines, state.failed_lines)


def _refuse_foreign(paths: JobPaths) -> None:
    for path in paths.all():
        if path != paths.journal and path.exists() and path.stat().st_size:
            raise InputError(
                f"{path}: exists and isn't keyfleet's (it has no journal {paths.journal.name}); "
                "use --overwrite to replace it, or another -o/--output"
            )


def _writer(paths: JobPaths, journal: Journal) -> ResultWriter:
    try:
        return ResultWriter(paths, journal)
    except BaseException:
        journal.close()
        raise
