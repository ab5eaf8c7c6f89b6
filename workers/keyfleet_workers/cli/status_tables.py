"""How the overview of a fleet is shown in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keyfleet.jobs.finding import short_id
from keyfleet.ledger import JobState
from keyfleet.running.fleet_status import LimitStatus
from keyfleet.running.progress import duration_text
from keyfleet_workers.cli.keys_tables import WINDOWS
from keyfleet_workers.overview import JobOverview, KeyOverview, Overview, QueueOverview
from keyfleet_workers.overview.keys import NO_WORKER

__all__ = ["status_picture"]

BAR_COLUMNS = 12
"""Width of a bar."""

NEARLY_FULL = 0.9
"""From this share on a limit's bar stands out."""

MOST_DONE_JOBS = 5
"""Jobs that are over are shown up to this number, the last first."""

_COLOURS = {"ready": "green", **dict.fromkeys(("cooling", "resting", "unreachable", NO_WORKER), "yellow")}
_JOB_COLOURS = {JobState.RUNNING: "green", JobState.CANCELLED: "red", JobState.DONE: "dim"}


def status_picture(overviews: Sequence[Overview], *, is_narrow: bool = False) -> RenderableType:
    """Tables of keys, queues and jobs. `is_narrow` leaves out what the least would be missed of."""
    parts: list[RenderableType] = []
    for overview in overviews:
        parts += _with_gaps(_fleet(overview, is_named=len(overviews) > 1, is_narrow=is_narrow))
    return Group(*parts) if parts else Text("no fleet is known here")


def _with_gaps(parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    for part in parts:
        yield part
        yield Text()


def _fleet(overview: Overview, *, is_named: bool, is_narrow: bool) -> Iterator[RenderableType]:
    if is_named:
        yield Text(f"fleet {overview.fleet}", style="bold")
    yield _keys(overview.keys, is_narrow) if overview.keys else Text("no key is known: no worker has run here lately")
    if overview.without_worker:
        yield Text(f"no worker serves {', '.join(overview.without_worker)}", style="yellow")
    if overview.queues:
        yield _queues(overview.queues, is_narrow)
    if overview.jobs:
        yield _jobs(overview.jobs, is_narrow)


def _keys(keys: Sequence[KeyOverview], is_narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("Key", "State", "Until"):
        table.add_column(column, no_wrap=True)
    table.add_column("Limit", overflow="fold")
    table.add_column("Used", no_wrap=True)
    table.add_column("Left", justify="right", no_wrap=True)
    for column in () if is_narrow else ("Requests/min", "Tokens/min", "In flight"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in () if is_narrow else ("Errors", "Workers"):
        table.add_column(column, overflow="fold")
    for key in keys:
        _add_key(table, key, is_narrow)
    return table


def _add_key(table: Table, key: KeyOverview, is_narrow: bool) -> None:
    first = [Text(key.name), Text(key.state.replace("_", " "), style=_COLOURS.get(key.state, "red")), Text(_until(key))]
    errors = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in sorted(key.errors.items()))
    workers = ", ".join(f"{host} ({count})" if count > 1 else host for host, count in key.workers.items())
    pace = [f"{key.requests_per_minute:,}", f"{key.tokens_per_minute:,}", str(key.in_flight)]
    last: list[RenderableType] = [] if is_narrow else [*pace, Text(errors or "-"), Text(workers or "none")]
    limits = [(quota.label, limit) for quota in key.quotas for limit in quota.limits]
    labels = {label for label, _ in limits}
    for number, (label, limit) in enumerate(limits or [("", None)]):
        cells: list[RenderableType] = ["", "", ""] if limit is None else _limit(limit, label if len(labels) > 1 else "")
        if number == 0:
            table.add_row(*first, *cells, *last)
        else:
            table.add_row("", "", "", *cells)


def _until(key: KeyOverview) -> str:
    state = key.gravest
    if state is None:
        return ""
    if state.rest_s is None:
        return "it is enabled" if state.state.value == "disabled" else "it works"
    return f"in {duration_text(max(1.0, state.rest_s))}"


def _limit(limit: LimitStatus, label: str) -> list[RenderableType]:
    share = limit.used / limit.amount if limit.amount else 1.0
    window = WINDOWS.get(limit.window_s, f"{limit.window_s:,} s")
    bar = Table.grid(padding=(0, 1))
    style = "red" if share >= NEARLY_FULL else "green"
    done = min(limit.used, limit.amount)
    bar.add_row(
        ProgressBar(total=limit.amount, completed=done, width=BAR_COLUMNS, complete_style=style, finished_style=style),
        f"{limit.used:,}",
    )
    name = f"{limit.amount:,} {limit.unit}/{window}{f' ({label})' if label else ''}"
    return [Text(name), bar, f"{max(0, limit.amount - limit.used):,}"]


def _queues(queues: Sequence[QueueOverview], is_narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("Queue", overflow="fold")
    for column in ("Waiting", "Oldest") if is_narrow else ("Waiting", "Sent", "Backoff", "Paused", "Oldest", "Keys"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Why it waits", overflow="fold")
    for queue in queues:
        counts = (queue.ready_urgent + queue.ready_bulk, queue.running, queue.delayed, queue.paused)
        oldest = "-" if queue.oldest_s is None else duration_text(queue.oldest_s)
        cells = [f"{queue.waiting:,}", oldest] if is_narrow else [*map("{:,}".format, counts), oldest, str(queue.keys)]
        table.add_row(Text(queue.model), *cells, Text(queue.why or "-"))
    return table


def _jobs(jobs: Sequence[JobOverview], is_narrow: bool) -> Table:
    table = Table(*([] if is_narrow else ["Job"]), "Name", "State", box=None, pad_edge=False)
    table.add_column("Done", no_wrap=True)
    for column in ("Failed", "Left") if is_narrow else ("Succeeded", "Failed", "Requests/s", "Left"):
        table.add_column(column, justify="right", no_wrap=True)
    for job in _shown(jobs):
        done = Table.grid(padding=(0, 1))
        done.add_row(ProgressBar(total=1.0, completed=job.share, width=BAR_COLUMNS), f"{job.ended:,} of {job.total:,}")
        name, state = Text(job.record.facts.name), Text(job.state.value, style=_JOB_COLOURS.get(job.state, "yellow"))
        failed, left = f"{job.record.failed:,}", "-" if job.left_s is None else duration_text(job.left_s)
        if is_narrow:
            table.add_row(name, state, done, failed, left)
        else:
            pace = "-" if job.requests_per_s is None else f"{job.requests_per_s:,.1f}"
            table.add_row(
                short_id(job.record.job_id), name, state, done, f"{job.record.succeeded:,}", failed, pace, left
            )
    return table


def _shown(jobs: Sequence[JobOverview]) -> list[JobOverview]:
    """All that go on, and the last of those that are over; `keyfleet jobs` lists them all."""
    over = [job for job in jobs if job.state in (JobState.DONE, JobState.CANCELLED)]
    hidden = {id(job) for job in over[MOST_DONE_JOBS:]}
    return [job for job in jobs if id(job) not in hidden]
