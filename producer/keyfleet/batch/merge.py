"""Putting the new outcomes of failed lines in the place of the old ones.

New files are written beside the old, and their journal, which says that it replaces, takes the place of the old
journal in one rename: this is the moment. What is left, renaming the other files, can be done again any number of
times, so `complete` finishes it whenever the job is opened next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain

from keyfleet.batch import durable
from keyfleet.batch.formats import Row, blank_row
from keyfleet.batch.job_paths import JobPaths
from keyfleet.batch.journal import Journal
from keyfleet.batch.row_index import ReasonIndex, RowIndex
from keyfleet.batch.writer import ResultWriter

__all__ = ["complete", "merge"]

GROUP_ROWS = 10_000
GROUP_BYTES = 8 * 1024 * 1024
"""Rows are copied in groups that reach one of these, so that memory stays flat."""


def merge(paths: JobPaths, main: Journal, retried: Journal) -> Journal:
    """Rewrite a done job with the rows of its done retry; returns the journal that is the job's from now on, locked.

    Successes stand where the failures stood; in an unordered Batch output, whose failures stood in a file of their
    own, they come last. `main` is closed.
    """
    fresh_paths = paths.merged()
    for path in fresh_paths.all():
        durable.remove(path)
    journal = Journal.open(fresh_paths.journal)
    try:
        journal.start(replace(main.state.header, replaces=True))
        _write_merged(paths, fresh_paths, main, retried, journal)
        durable.sync_directory(paths.output.parent)
        durable.rename(fresh_paths.journal, paths.journal)
        journal.moved_to(paths.journal)
        durable.sync_directory(paths.output.parent)
        main.close()
        complete(paths, journal)
    except BaseException:
        journal.close()
        raise
    return journal


def complete(paths: JobPaths, journal: Journal) -> None:
    """Finish the renames of a merge that was interrupted after its moment; otherwise do nothing."""
    if not journal.state.header.replaces or journal.state.merged:
        return
    fresh_paths = paths.merged()
    if fresh_paths.output.exists():
        durable.rename(fresh_paths.output, paths.output)
    if paths.errors is not None and fresh_paths.errors is not None:
        if fresh_paths.errors.exists():
            durable.rename(fresh_paths.errors, paths.errors)
        elif not journal.state.errors_bytes:
            durable.remove(paths.errors)
    for path in (*paths.retry().all(), paths.spool):
        durable.remove(path)
    durable.sync_directory(paths.output.parent)
    journal.append_merged()


def _write_merged(paths: JobPaths, fresh_paths: JobPaths, main: Journal, retried: Journal, journal: Journal) -> None:
    with ExitStack() as stack:
        index = RowIndex(paths.retry().output, retried.written_order())
        stack.callback(index.close)
        reasons = ReasonIndex(main.failures(), retried.failures())
        stack.callback(reasons.close)
        writer = ResultWriter(fresh_paths, journal)
        stack.callback(writer.close)
        fed = main.state.fed
        for group in _groups(_merged_rows(paths, main, retried, index)):
            named = [replace(row, reason=reasons.get(row.line_number)) if row.failed else row for row in group]
            writer.write(named, fed)
        writer.finish(fed)


def _merged_rows(paths: JobPaths, main: Journal, retried: Journal, index: RowIndex) -> Iterable[Row]:
    state = main.state
    if state.header.ordered:
        return _in_place(paths, main, retried, index, state.written)
    rows = _in_place(paths, main, retried, index, main.written_order())
    skipped = (blank_row(number) for number in state.skipped)
    if paths.errors is None:
        return chain(rows, skipped)
    recovered = (number for number in retried.state.written if number not in retried.state.failed)
    last = (Row(number, False, index.get(number) or b"") for number in recovered)
    return chain((row for row in rows if row.failed or row.line_number not in state.failed), last, skipped)


def _in_place(paths: JobPaths, main: Journal, retried: Journal, index: RowIndex, order: Iterable[int]) -> Iterator[Row]:
    """The main job's rows in the order given, a retried one's new row instead of the old."""
    state = main.state
    with ExitStack() as stack:
        output = stack.enter_context(paths.output.open("rb"))
        errors = output
        if paths.errors is not None and state.errors_bytes:
            errors = stack.enter_context(paths.errors.open("rb"))
        for number in order:
            if number in state.skipped:
                yield blank_row(number)
                continue
            failed = number in state.failed
            row = (errors if failed else output).readline()
            fresh = index.get(number) if failed else None
            if fresh is None:
                yield Row(number, failed, row)
            else:
                yield Row(number, number in retried.state.failed, fresh)


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size_bytes = 0
    for row in rows:
        group.append(row)
        size_bytes += len(row.data)
        if len(group) >= GROUP_ROWS or size_bytes >= GROUP_BYTES:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group
