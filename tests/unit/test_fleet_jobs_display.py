"""What is shown of a job while its caller waits for it."""

from __future__ import annotations

import importlib.util

import pytest
from rich.console import Console

from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.waiting import display, followed_snapshot, say_ended
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.progress import PlainProgress, TerminalProgress


@pytest.mark.parametrize(
    ("is_terminal", "is_jupyter", "has_widgets", "kind"),
    [
        (True, False, False, TerminalProgress),
        (False, True, True, TerminalProgress),
        (False, True, False, PlainProgress),  # rich would warn, and could not redraw
        (False, False, True, PlainProgress),
    ],
)
def test_the_bar_is_shown_where_it_can_be_drawn_anew(
    is_terminal: bool, is_jupyter: bool, has_widgets: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Console, "is_terminal", is_terminal)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if has_widgets else None)
    real = Console.__init__

    def make(console: Console, **options: object) -> None:
        real(console, **options)  # type: ignore[arg-type]
        console.is_jupyter = is_jupyter

    monkeypatch.setattr(Console, "__init__", make)
    assert isinstance(display(True), kind)


def test_nothing_is_shown_where_nobody_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with display(False) as shown:
        shown.show(followed_snapshot(JobCounts(3, 1), FleetStatus()))
    assert capsys.readouterr() == ("", "")


def test_a_job_that_another_process_runs_is_shown_by_its_counts() -> None:
    snapshot = followed_snapshot(JobCounts(10, 4, 1, is_complete=True), FleetStatus())
    assert (snapshot.finished, snapshot.failed, snapshot.in_window, snapshot.total_lines) == (5, 1, 5, 10)
    assert followed_snapshot(JobCounts(10), FleetStatus()).total_lines is None


def test_the_end_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_ended("nightly", JobCounts(1200, 1000, 200, 150))
    assert capsys.readouterr().err == "job nightly: 1,000 succeeded, 200 failed (150 of them cancelled)\n"
