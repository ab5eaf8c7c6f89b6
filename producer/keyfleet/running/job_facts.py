"""What a run tells others of its job."""

from __future__ import annotations

import os
import socket
from collections import Counter
from pathlib import Path

from keyfleet.batch.job import JobFiles
from keyfleet.batch.journal import Journal
from keyfleet.batch.lines import STANDARD_INPUT
from keyfleet.batch.retry_failed import RetryJob
from keyfleet.ledger import JobFacts, JobTotals

__all__ = ["facts_of", "this_host", "totals_of"]


def this_host() -> str:
    """The name of this host, as it stands in the records of jobs."""
    return socket.gethostname()


def facts_of(files: JobFiles | RetryJob, input_name: str) -> JobFacts:
    """What the job is, with absolute paths."""
    is_stream = input_name == STANDARD_INPUT
    return JobFacts(
        name="standard input" if is_stream else Path(input_name).name,
        input=input_name if is_stream else os.path.abspath(input_name),  # noqa: PTH100 - links stay as they were named
        output=os.path.abspath(files.paths.output),  # noqa: PTH100 - as above
        host=this_host(),
        format=files.format,
        retry_of=files.row_job_id if isinstance(files, RetryJob) else "",
    )


def totals_of(journal: Journal) -> JobTotals:
    """How the job ended, as its files say. Reads the journal where something failed."""
    state = journal.state
    failed = state.failed_lines
    reasons: Counter[str] = Counter()
    for reason, numbers in journal.failures() if failed else ():
        reasons[reason] += sum(1 for _ in numbers)
    return JobTotals(state.finished_lines - failed, failed, reasons)
