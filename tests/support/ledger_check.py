"""The three assertions after every fault: one outcome for each request, none sent again, no window over its limit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from keyfleet.sim import SimProcess
from support.files import errors_of, lines_answered, rows_of

__all__ = ["assert_promises_kept", "limits_exceeded", "repeats_in"]


def repeats_in(stats: dict[str, Any]) -> int:
    """Most requests that the provider saw again after it had answered them, or while they were under way."""
    found: int = stats["sent_after_success"] + stats["concurrent_duplicates"]
    return found


def limits_exceeded(stats: dict[str, Any]) -> list[str]:
    """In words, every limit of which some window held more than its amount, refused requests included."""
    return [
        f"{name}: {limit['peak_arrived']} of {limit['amount']} {limit['of']} in {limit['window_s']:g} s"
        for name, key in stats["keys"].items()
        for limit in key["limits"]
        if limit["peak_arrived"] > limit["amount"]
    ]


def assert_promises_kept(sim: SimProcess, output: Path, lines: int, *, repeats: int = 0) -> dict[str, Any]:
    """Check the output of bare lines 1 to `lines` against the ledger of the stand-in; returns the stand-in's counts.

    `repeats`: calls that were in flight on workers that were killed or cut off, which alone may be sent twice.
    """
    assert lines_answered(output) == Counter(range(1, lines + 1)), f"failed: {errors_of(output)[:3]}"
    assert len(rows_of(output)) == lines, "a line that has its answer has another outcome too"
    stats = sim.stats()
    found = repeats_in(stats)
    assert found <= repeats, f"{found} requests were sent again, {repeats} may be"
    assert not limits_exceeded(stats), f"{stats['over_limit']} calls were refused: {limits_exceeded(stats)}"
    assert stats["over_limit"] == 0, f"{stats['over_limit']} calls were refused"
    return stats
