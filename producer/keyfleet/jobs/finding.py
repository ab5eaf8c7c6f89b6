"""Which job is meant by what somebody has typed."""

from __future__ import annotations

import os
from collections.abc import Sequence

from keyfleet.errors import JobNotFound
from keyfleet.ledger import JobRecord

__all__ = ["find_job", "short_id"]

SHORT_ID_CHARACTERS = 8
"""How much of an id is shown."""


def short_id(job_id: str) -> str:
    """An id as it is shown, and as it may be typed."""
    return job_id[:SHORT_ID_CHARACTERS]


def find_job(records: Sequence[JobRecord], name: str, *, prefers_whole: bool = False) -> JobRecord:
    """The job whose id is or begins with `name`, or whose input or output it is.

    Where several jobs have these files, it is the one that was begun last; `prefers_whole`: of those that are no
    retry of another, if there are any. Raises JobNotFound.
    """
    by_id = [record for record in records if record.job_id.startswith(name)] if name else []
    exact = [record for record in by_id if record.job_id == name]
    if exact or len(by_id) == 1:
        return (exact or by_id)[0]
    if by_id:
        ids = ", ".join(sorted(short_id(record.job_id) for record in by_id))
        raise JobNotFound(f"{name}: several jobs begin like that ({ids}); type more of the id")
    path = os.path.abspath(name)  # noqa: PTH100 - as the run has noted it: links stay as they were named
    by_path = [record for record in records if path in (record.facts.input, record.facts.output)]
    if prefers_whole:
        by_path = [record for record in by_path if not record.facts.retry_of] or by_path
    if not by_path:
        raise JobNotFound(f"{name}: there is no such job here; `keyfleet jobs` lists those that are known")
    return max(by_path, key=lambda record: record.begun_ms)
