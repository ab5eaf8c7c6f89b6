"""Progress of a run: a live picture on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keyfleet.running.fleet_status import FleetStatus, LimitStatus
from keyfleet.running.snapshot import Snapshot

__all__ = ["PlainProgress", "TerminalProgress", "describe", "duration_text", "key_shares", "waiting_text"]

REDRAW_S = 0.5
"""Interval of drawing anew (s)."""

PLAIN_S = 15.0
"""Interval of plain lines (s)."""

RATE_OVER_S = 30.0
"""Time over which the present rate is taken (s)."""

BAR_COLUMNS = 40
"""Width of the bar."""

MOST_KEYS = 12
"""Keys shown one by one; of more, the fullest."""

PAUSED = "it is paused; `keyfleet jobs resume` lets it go on"

NEWS_S = 2.0
"""Least time between a line and one that is due to news, which may come and go (s)."""


class _Pace:
    """The rate of the last half minute, and what follows from it."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def note(self, snapshot: Snapshot) -> None:
        """Take the present state in."""
        now_s = time.monotonic()
        tally = snapshot.tally
        self._marks.append((now_s, tally.finished, tally.tokens))
        while now_s - self._marks[0][0] > RATE_OVER_S:
            self._marks.popleft()

    def _over(self, column: int) -> float:
        first, last = self._marks[0], self._marks[-1]
        return (last[column] - first[column]) / max(last[0] - first[0], 1e-3) if len(self._marks) > 1 else 0.0

    @property
    def requests_per_s(self) -> float:
        return self._over(1)

    @property
    def tokens_per_minute(self) -> float:
        return self._over(2) * 60

    def seconds_left(self, snapshot: Snapshot) -> float | None:
        """Time left, where it can be told: what is left to do, at the present rate."""
        if snapshot.total_lines is None or self.requests_per_s <= 0:
            return None
        return max(0.0, (snapshot.total_lines - snapshot.finished) / self.requests_per_s)


def duration_text(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def waiting_text(snapshot: Snapshot) -> str:
    """Why requests wait now, in words; empty where nothing holds them."""
    if snapshot.is_paused:
        return PAUSED
    reasons = [
        f"{reason} ({count} key{'s' * (count > 1)})"
        for reason, count in sorted(snapshot.waits.items())
        if not _is_told(reason, snapshot.blocked)
    ]
    short = sorted({worker.key_name for worker in snapshot.fleet.workers if worker.short_of_slots})
    if short:
        reasons.append(f"concurrency ({', '.join(short)}; --concurrency raises it)")
    reasons.extend(snapshot.notes)
    reasons.extend(snapshot.blocked)
    if not snapshot.fleet.workers:
        reasons += [] if snapshot.blocked else ["no worker is running yet"]
    elif not reasons and snapshot.in_window and _have_failed(snapshot.fleet):
        reasons.append("backoff after errors")
    return "; ".join(reasons)


def _have_failed(fleet: FleetStatus) -> bool:
    """Whether calls have failed, and none is under way; without failures, answers are just on their way here."""
    are_idle = not any(worker.in_flight for worker in fleet.workers)
    return are_idle and any(worker.totals.get(how) for worker in fleet.workers for how in ("retried", "unreachable"))


def _is_told(reason: str, blocked: tuple[str, ...]) -> bool:
    """Whether the words of a key's state stand among what is told of the keys that can't serve a model."""
    words = reason.partition(": ")[2][:60]
    return bool(words) and any(words in sentence for sentence in blocked)


def key_shares(fleet: FleetStatus) -> dict[str, tuple[int, float | None, str]]:
    """Per key: calls in flight, the share of its tightest limit that is used, and which limit that is."""
    found: dict[str, tuple[int, float | None, str]] = {}
    for worker in fleet.workers:
        in_flight = worker.in_flight + found.get(worker.key_name, (0, None, ""))[0]
        tightest = max(worker.limits, key=_share, default=None)
        share = None if tightest is None else _share(tightest)
        name = "" if tightest is None else f"{tightest.amount:,} {tightest.unit} / {tightest.window_s} s"
        found[worker.key_name] = (in_flight, share, name)
    return found


def _share(limit: LimitStatus) -> float:
    return limit.used / limit.amount


def describe(snapshot: Snapshot, pace: _Pace) -> str:
    """One line that says how the run stands."""
    total = snapshot.total_lines
    parts = [f"{snapshot.finished:,}" + (f" of about {total:,}" if total else "") + " done"]
    if snapshot.failed:
        parts.append(f"{snapshot.failed:,} failed")
    parts.append(f"{sum(worker.in_flight for worker in snapshot.fleet.workers)} in flight")
    parts.append(f"{pace.requests_per_s:,.1f} requests/s")
    parts.append(f"{pace.tokens_per_minute:,.0f} tokens/min")
    left_s = pace.seconds_left(snapshot)
    if left_s is not None:
        parts.append(f"{duration_text(left_s)} left")
    if waiting := waiting_text(snapshot):
        parts.append(f"waiting: {waiting}")
    return ", ".join(parts)


class PlainProgress:
    """A line on standard error every quarter of a minute, and soon when something new keeps the job from going on."""

    def __init__(self) -> None:
        self._pace = _Pace()
        self._hindrances = 0
        self._said_s = float("-inf")
        self._due_s = time.monotonic() + PLAIN_S

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, snapshot: Snapshot) -> None:
        """Take the present state in, and print it when it is time."""
        self._pace.note(snapshot)
        now_s = time.monotonic()
        hindrances = len(snapshot.blocked) + len(snapshot.notes) + snapshot.is_paused
        is_news = hindrances > self._hindrances and now_s >= self._said_s + NEWS_S
        if is_news or hindrances < self._hindrances:
            self._hindrances = hindrances
        if is_news or now_s >= self._due_s:
            self._said_s, self._due_s = now_s, now_s + PLAIN_S
            click.echo(describe(snapshot, self._pace), err=True)


class TerminalProgress:
    """A live picture: a bar, the counts, and every key with its share of quota."""

    def __init__(self, console: Console) -> None:
        self._pace = _Pace()
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._due_s = 0.0

    def __enter__(self) -> TerminalProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Draw the present state when it is time."""
        self._pace.note(snapshot)
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + REDRAW_S
            self._live.update(self._picture(snapshot), refresh=True)

    def _picture(self, snapshot: Snapshot) -> RenderableType:
        total = snapshot.total_lines
        bar = ProgressBar(total=total or None, completed=snapshot.finished, width=BAR_COLUMNS, pulse=total is None)
        counts = Table.grid(padding=(0, 2))
        counts.add_row(
            bar, Text(f"{min(1.0, snapshot.finished / total):.0%}" if total else "", style="bold"), self._left(snapshot)
        )
        in_flight = sum(worker.in_flight for worker in snapshot.fleet.workers)
        facts = Text.assemble(
            (f"{snapshot.finished - snapshot.failed:,} succeeded", "green"),
            "  ",
            (f"{snapshot.failed:,} failed", "red" if snapshot.failed else "dim"),
            f"  {in_flight:,} in flight  {max(0, snapshot.in_window - in_flight) + snapshot.set_aside:,} waiting",
            f"  {self._pace.requests_per_s:,.1f} requests/s  {self._pace.tokens_per_minute:,.0f} tokens/min",
        )
        waiting = waiting_text(snapshot)
        rows: list[RenderableType] = [counts, facts]
        if waiting:
            rows.append(Text(f"waiting for: {waiting}", style="yellow"))
        if snapshot.interrupted:
            rows.append(
                Text("stopping: calls under way are paid for and may finish; Ctrl-C again stops at once", "bold")
            )
        rows.append(_key_table(snapshot.fleet))
        return Group(*rows)

    def _left(self, snapshot: Snapshot) -> Text:
        left_s = self._pace.seconds_left(snapshot)
        return Text("" if left_s is None else f"{duration_text(left_s)} left", style="cyan")


def _key_table(fleet: FleetStatus) -> Table:
    table = Table.grid(padding=(0, 2))
    shares = sorted(key_shares(fleet).items(), key=lambda item: -(item[1][1] or 0.0))
    for name, (in_flight, share, limit) in shares[:MOST_KEYS]:
        used = "" if share is None else f"{min(share, 9.99):4.0%} of {limit}"
        table.add_row(Text(name, style="bold"), f"{in_flight} in flight", used)
    if len(shares) > MOST_KEYS:
        table.add_row(Text(f"and {len(shares) - MOST_KEYS} more keys", style="dim"))
    return table
