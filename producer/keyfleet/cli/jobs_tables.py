"""How jobs and failures are shown."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from keyfleet.jobs import ListedJob, OpenCounts
from keyfleet.jobs.finding import short_id
from keyfleet.ledger import FailureGroup, JobState
from keyfleet.running.progress import duration_text

__all__ = ["failure_document", "failures_table", "job_document", "jobs_table", "print_table"]

WIDE_COLUMNS = 250
"""Width where nobody looks, so that no line is broken."""

_COLOURS = {
    JobState.RUNNING: "green",
    JobState.INTERRUPTED: "yellow",
    JobState.PAUSED: "yellow",
    JobState.CANCELLED: "red",
    JobState.DONE: "dim",
}


def print_table(table: RenderableType) -> None:
    """Print to standard output; as wide as it takes where that is no terminal."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDE_COLUMNS)
    console.print(table)


def jobs_table(listed: list[ListedJob], now_ms: int) -> Table:
    """One row per job."""
    table = Table("Job", "Name", "State", box=None, pad_edge=False)
    for column in ("Requests", "Succeeded", "Failed"):
        table.add_column(column, justify="right")
    for column in ("Open", "Begun", "Last seen"):
        table.add_column(column)
    table.add_column("Output", overflow="fold")
    for job in listed:
        record, state = job.record, job.state(now_ms)
        retry = f" (retry of {short_id(record.facts.retry_of)})" if record.facts.retry_of else ""
        table.add_row(
            short_id(record.job_id),
            Text(f"{record.facts.name}{retry}"),
            Text(state.value, style=_COLOURS[state]),
            f"{record.accepted:,}",
            f"{record.succeeded:,}",
            f"{record.failed:,}",
            _open_text(job.open),
            _ago_text(now_ms - record.begun_ms),
            "now" if record.is_alive(now_ms) else _ago_text(now_ms - record.seen_ms),
            Text(f"{record.facts.host}:{record.facts.output}"),
        )
    return table


def _open_text(counts: OpenCounts) -> str:
    parts = ((counts.ready, "ready"), (counts.running, "running"), (counts.delayed, "delayed"))
    return ", ".join(f"{count:,} {name}" for count, name in parts if count) or "-"


def _ago_text(duration_ms: int) -> str:
    if duration_ms >= 2 * 86_400_000:
        return f"{duration_ms // 86_400_000} days ago"
    return f"{duration_text(max(0, duration_ms) / 1000)} ago"


def failures_table(groups: list[FailureGroup]) -> Table:
    """One row per reason."""
    table = Table(box=None, pad_edge=False)
    table.add_column("Failed", justify="right")
    for column in ("Reason", "Example"):
        table.add_column(column)
    table.add_column("Message", overflow="fold")
    for group in groups:
        where = ", ".join(part for part in (f"line {group.line}" if group.line else "", group.custom_id) if part)
        table.add_row(f"{group.count:,}", Text(group.reason), Text(where), Text(" ".join(group.message.split())))
    return table


def job_document(job: ListedJob, now_ms: int) -> dict[str, Any]:
    """A job as JSON; times in ms since the epoch by the server's clock, null where there is none."""
    record = job.record
    return {
        "id": record.job_id,
        "fleet": record.fleet,
        **asdict(record.facts),
        "retry_of": record.facts.retry_of or None,
        "state": job.state(now_ms).value,
        "total": record.total or None,
        "accepted": record.accepted,
        "succeeded": record.succeeded,
        "failed": record.failed,
        "open": asdict(job.open),
        "begun_ms": record.begun_ms or None,
        "seen_ms": record.seen_ms or None,
        "done_ms": record.done_ms or None,
    }


def failure_document(group: FailureGroup) -> dict[str, Any]:
    """A group of failures as JSON."""
    return {
        "reason": group.reason,
        "count": group.count,
        "example": {
            "line": int(group.line) if group.line.isdecimal() else None,
            "custom_id": group.custom_id or None,
            "message": group.message,
            "key": group.key_name or None,
        },
    }
