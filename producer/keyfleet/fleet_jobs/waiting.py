"""What is shown of a job while its caller waits for it."""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rich.console import Console

from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.intake import Intake
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.progress import PlainProgress, TerminalProgress
from keyfleet.running.snapshot import Snapshot
from keyfleet.running.tally import Tally

__all__ = ["Display", "check_loop", "display", "followed_snapshot", "say_ended"]


class Display(Protocol):
    """Shows how a job stands."""

    def show(self, snapshot: Snapshot) -> None: ...


class _Nothing:
    def show(self, snapshot: Snapshot) -> None:
        return None


def check_loop(intake: Intake | None) -> None:
    """Raises RuntimeError where waiting would hold up the very event loop that a job's rows come from."""
    loop = intake.loop if intake is not None else None
    if loop is None:
        return
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return
    if running is loop:
        raise RuntimeError("this event loop reads the job's requests, so waiting here would never end; `await job`")


def display(wanted: bool) -> AbstractContextManager[Display]:
    """The bar of `keyfleet run` on a terminal and in a notebook that can redraw, else a line now and then."""
    if not wanted:
        return nullcontext(_Nothing())
    console = Console(stderr=True)
    can_redraw = console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)
    return TerminalProgress(console) if can_redraw else PlainProgress()


def followed_snapshot(counts: JobCounts, status: FleetStatus) -> Snapshot:
    """How a job stands that another process runs."""
    return Snapshot(
        finished=counts.finished,
        failed=counts.failed,
        in_window=counts.open,
        set_aside=0,
        total_lines=counts.total if counts.is_complete else None,
        tally=Tally(succeeded=counts.succeeded, failed=counts.failed),
        fleet=status,
        waits={},
        notes=(),
        interrupted=False,
    )


def say_ended(name: str, counts: JobCounts) -> None:
    """One line about a job that is over."""
    console = Console(stderr=True)
    cancelled = f" ({counts.cancelled:,} of them cancelled)" if counts.cancelled else ""
    text = f"job {name}: {counts.succeeded:,} succeeded, {counts.failed:,} failed{cancelled}"
    console.print(text, highlight=False, markup=False, soft_wrap=True)
