"""How keys are shown, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table
from rich.text import Text

from keyfleet.cli.jobs_tables import print_table
from keyfleet.running.progress import duration_text
from keyfleet_workers.key_views import KeyView, LimitView, StateView

__all__ = ["key_document", "keys_table", "print_table"]

_COLOURS = {"ready": "green", **dict.fromkeys(("cooling", "resting", "unreachable", "unknown"), "yellow")}
_WINDOWS = {1: "s", 60: "min", 3600: "h", 86400: "day"}


def keys_table(views: list[KeyView]) -> Table:
    """One row per key, and further ones for further limits."""
    table = Table(box=None, pad_edge=False)
    for column in ("Key", "State", "Until", "Limit"):
        table.add_column(column)
    for column in ("Used", "Left"):
        table.add_column(column, justify="right")
    table.add_column("Models", overflow="fold")
    table.add_column("Workers", overflow="fold")
    table.add_column("Reason", overflow="fold")
    for view in views:
        _add_rows(table, view)
    return table


def _add_rows(table: Table, view: KeyView) -> None:
    gravest = view.gravest
    name = view.state_name
    reason = _reason(view, gravest)
    models = ", ".join(view.config.models) or "any"
    first = (
        Text(view.config.name),
        Text(name, style=_COLOURS.get(name, "red")),
        _until(gravest),
    )
    rest = (Text(models), Text(_workers(view)), Text(reason))
    for number, limit in enumerate(view.limits or [None]):
        cells = ("", "", "") if limit is None else (_limit(limit), f"{limit.used:,}", f"{limit.left:,}")
        table.add_row(*(first if number == 0 else ("", "", "")), *cells, *(rest if number == 0 else ("", "", "")))


def _until(state: StateView | None) -> str:
    if state is None:
        return ""
    return "it is lifted" if state.rest_s is None else f"in {duration_text(max(1.0, state.rest_s))}"


def _limit(limit: LimitView) -> str:
    window = _WINDOWS.get(limit.window_s, f"{limit.window_s:,} s")
    learned = "" if limit.is_configured else " (learned)"
    return f"{limit.amount:,} {limit.unit}/{window}{learned}"


def _workers(view: KeyView) -> str:
    counts = Counter(view.workers)
    return ", ".join(f"{host} ({count})" if count > 1 else host for host, count in sorted(counts.items())) or "none"


def _reason(view: KeyView, gravest: StateView | None) -> str:
    parts = [view.problem] if view.problem else []
    if gravest is not None:
        where = f" (on {gravest.host})" if gravest.host else ""
        where += f" (models of {gravest.pool.rpartition(':')[2]})" if gravest.pool else ""
        parts.append(f"{gravest.reason}{where}")
    if view.lost_models:
        parts.append(f"can't use {', '.join(view.lost_models)}")
    return "; ".join(parts)


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
