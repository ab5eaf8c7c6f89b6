"""How keys are shown, as a table with notes and as JSON."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keyfleet.cli.jobs_tables import WIDE_COLUMNS
from keyfleet.running.progress import duration_text
from keyfleet_workers.holds import KeyState
from keyfleet_workers.key_views import KeyView, LimitView, StateView

__all__ = ["WINDOWS", "key_document", "key_notes", "keys_table", "print_keys"]

NARROW_COLUMNS = 110
"""On a terminal that is narrower than this, what the notes and the keys file say as well is left out of the table."""

_COLOURS = {"ready": "green", **dict.fromkeys(("cooling", "resting", "unreachable", "unknown"), "yellow")}
WINDOWS = {1: "s", 60: "min", 3600: "h", 86400: "day"}


def print_keys(views: list[KeyView]) -> None:
    """Print to standard output: the table, and below it why keys can't be used."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDE_COLUMNS)
    console.print(keys_table(views, is_narrow=console.width < NARROW_COLUMNS))
    notes = key_notes(views)
    if notes:
        console.print()
    for note in notes:
        console.print(Text(note), soft_wrap=not console.is_terminal)


def keys_table(views: list[KeyView], *, is_narrow: bool = False) -> Table:
    """One row per key, and further ones for further limits."""
    table = Table(box=None, pad_edge=False)
    for column in ("Key", "State") if is_narrow else ("Key", "State", "Until"):
        table.add_column(column, no_wrap=True)
    table.add_column("Limit", overflow="fold")
    for column in ("Used", "Left"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Workers", overflow="fold")
    if not is_narrow:
        table.add_column("Models", overflow="fold")
    for view in views:
        _add_rows(table, view, is_narrow)
    return table


def _add_rows(table: Table, view: KeyView, is_narrow: bool) -> None:
    name = view.state_name
    first = [Text(view.config.name), Text(name.replace("_", " "), style=_COLOURS.get(name, "red"))]
    last = [Text(str(len(view.workers) or "none") if is_narrow else _workers(view))]
    if not is_narrow:
        first.append(Text(_until(view.gravest)))
        last.append(Text(", ".join(view.config.models) or "any"))
    for number, limit in enumerate(view.limits or [None]):
        cells = ("", "", "") if limit is None else (_limit(limit), f"{limit.used:,}", f"{limit.left:,}")
        is_first = number == 0
        table.add_row(*(first if is_first else [""] * len(first)), *cells, *(last if is_first else [""] * len(last)))


def _until(state: StateView | None) -> str:
    if state is None:
        return ""
    if state.rest_s is not None:
        return f"in {_rest(state.rest_s)}"
    return "it is enabled" if state.state is KeyState.DISABLED else "it works"


def _rest(rest_s: float) -> str:
    return duration_text(max(1.0, rest_s))


def _limit(limit: LimitView) -> str:
    window = WINDOWS.get(limit.window_s, f"{limit.window_s:,} s")
    learned = "" if limit.is_configured else " (learned)"
    return f"{limit.amount:,} {limit.unit}/{window}{learned}"


def _workers(view: KeyView) -> str:
    counts = Counter(view.workers)
    return ", ".join(f"{host} ({count})" if count > 1 else host for host, count in sorted(counts.items())) or "none"


def key_notes(views: list[KeyView]) -> list[str]:
    """What keeps keys from being used and what to do about it, one line for keys of which the same is to be said."""
    names: dict[str, list[str]] = {}
    for view in views:
        notes = [_state_note(state) for state in view.states]
        if view.problem:
            notes.append(view.problem)
        if view.lost_models:
            notes.append(f"can't use {', '.join(view.lost_models)}")
        for note in notes:
            names.setdefault(note, []).append(view.config.name)
    return [f"{', '.join(of)}: {note}" for note, of in names.items()]


def _state_note(state: StateView) -> str:
    where = f" on {state.host}" if state.host else ""
    where += f" for models of {state.pool.rpartition(':')[2]}" if state.pool else ""
    if state.rest_s is not None:
        then = f"tried again in {_rest(state.rest_s)}"
    else:
        then = "`keyfleet keys enable` ends that" if state.state is KeyState.DISABLED else "probed now and then"
    words = state.reason.removeprefix(f"{state.state.value}: ")
    reason = f" ({words})" if words else ""
    return f"{state.state.value.replace('_', ' ')}{where}{reason}; {then}"


def key_document(view: KeyView) -> dict[str, Any]:
    """A key as JSON; `rest_s` is null for what stands until it is lifted."""
    gravest = view.gravest
    return {
        "name": view.config.name,
        "provider": view.config.provider,
        "group": view.config.group,
        "state": view.state_name,
        "reason": "" if gravest is None else gravest.reason,
        "rest_s": 0.0 if gravest is None else gravest.rest_s,
        "problem": view.problem,
        "states": [
            {
                "state": state.state.value,
                "reason": state.reason,
                "rest_s": state.rest_s,
                "host": state.host,
                "pool": state.pool,
            }
            for state in view.states
        ],
        "limits": [
            {
                "pool": limit.pool,
                "models": list(limit.models),
                "unit": limit.unit,
                "amount": limit.amount,
                "window_s": limit.window_s,
                "used": limit.used,
                "left": limit.left,
                "configured": limit.is_configured,
            }
            for limit in view.limits
        ],
        "models": list(view.config.models) or None,
        "lost_models": list(view.lost_models),
        "workers": dict(Counter(view.workers)),
        "in_flight": view.in_flight,
    }
