"""Outcomes of requests that were never sent: refused before, or left over when their job was cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from keyfleet.batch.formats import Row, row_maker
from keyfleet.batch.job import JobFiles
from keyfleet.batch.lines import InputLine, open_input
from keyfleet.contract import AttemptError, Outcome
from keyfleet.errors import InvalidRequest, JobCancelled

__all__ = ["cancel_the_rest", "refused_outcome"]

WRITE_AT_ONCE = 500
"""Rows written together."""


def refused_outcome(line: InputLine, error: InvalidRequest) -> Outcome:
    """The outcome of a row that can't be sent. The message names it as its caller does: by its index, from 0."""
    before = f"line {line.number}"
    message = str(error)
    if message.startswith(before):
        message = f"request {line.number - 1}{message[len(before) :]}"
    return _outcome(line, error.code, message)


def cancel_the_rest(files: JobFiles) -> None:
    """Give every row that has no result one that says so, and end the job. Raises InputError."""
    make_row = row_maker("fleet", files.job_id)
    with open_input(files.lines.name) as lines:
        left = _left(files, lines, make_row)
        while rows := list(islice(left, WRITE_AT_ONCE)):
            files.writer.write(rows, files.journal.state.fed)
        files.finish(lines.fingerprint_at())


def _left(files: JobFiles, lines: Iterator[InputLine], make_row: Any) -> Iterator[Row]:
    for line in lines:
        if files.wants(line.number):
            yield make_row(_outcome(line, JobCancelled.code, "its job was cancelled before it was sent"))


def _outcome(line: InputLine, code: str, message: str) -> Outcome:
    now_s = time.time()
    return Outcome(
        id=str(line.number),
        ok=False,
        status=None,
        body=None,
        attempts=0,
        errors=(AttemptError(None, code, message, at_s=now_s),),
        finished_s=now_s,
        context=_context(line),
    )


def _context(line: InputLine) -> dict[str, Any]:
    try:
        return {"custom_id": str(json.loads(line.raw)["id"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
