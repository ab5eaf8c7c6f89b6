"""How a call is to be made."""

from __future__ import annotations

import time
from dataclasses import dataclass

from keyfleet.calls.answer import LONGEST_S, Priority, check_attempts, check_priority, is_duration
from keyfleet.errors import InvalidRequest

__all__ = ["LONGEST_JOB_NAME", "CallTerms"]

LONGEST_JOB_NAME = 100
"""Characters of a job's name."""


@dataclass(frozen=True, slots=True)
class CallTerms:
    """`until_s` is the end of a call's time on the monotonic clock, `start_by_s` that of waiting to be started; None:
    there is none. `job` is the name under which it is listed; empty: that of its process."""

    urgent: bool = True
    until_s: float | None = None
    max_attempts: int | None = None
    start_by_s: float | None = None
    job: str = ""

    @classmethod
    def of(
        cls,
        timeout_s: float | None,
        priority: Priority,
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> CallTerms:
        """From what a caller gives. Raises InvalidRequest."""
        until_s, start_by_s = _end_of("timeout_s", timeout_s), _end_of("start_within_s", start_within_s)
        return cls(check_priority(priority), until_s, check_attempts(max_attempts), start_by_s, _job_name(job))

    @property
    def left_s(self) -> float | None:
        """What is left of its time."""
        return None if self.until_s is None else max(0.0, self.until_s - time.monotonic())


def _end_of(name: str, given_s: float | None) -> float | None:
    if given_s is None:
        return None
    if not is_duration(given_s):
        raise InvalidRequest(f"{name}: expected a number of seconds above 0", code="invalid_timeout", field=name)
    return time.monotonic() + min(given_s, LONGEST_S)


def _job_name(job: str | None) -> str:
    if job is None:
        return ""
    if not isinstance(job, str) or not job.strip() or len(job) > LONGEST_JOB_NAME or not job.isprintable():
        message = f"job: expected a name of 1 to {LONGEST_JOB_NAME} printable characters"
        raise InvalidRequest(message, code="invalid_job", field="job")
    return job.strip()
