"""How a run stands, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.tally import Tally

__all__ = ["End", "Snapshot", "lines_estimate"]


class End(Enum):
    """How a run ended; the value is its exit code (0 and 1 are told apart by the job's failures)."""

    DONE = 0
    STOPPED = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a run stands, for those who show it.

    `total_lines` is about how many lines it has; None for a stream. `blocked` says for each model that no key can
    serve now why none can. `is_paused`: somebody has paused it by hand, so it isn't to be given up.
    """

    finished: int
    failed: int
    in_window: int
    set_aside: int
    total_lines: int | None
    tally: Tally
    fleet: FleetStatus
    waits: dict[str, int]
    notes: tuple[str, ...]
    interrupted: bool
    blocked: tuple[str, ...] = ()
    is_paused: bool = False


def lines_estimate(
    read_lines: int, *, position_bytes: int, total_bytes: int | None, limit_lines: int | None
) -> int | None:
    """About how many lines are to be run, from the part of the input that was read; None where that can't be told."""
    if total_bytes is None or not position_bytes or not read_lines:
        return None
    estimate = round(read_lines * total_bytes / position_bytes)
    return estimate if limit_lines is None else min(estimate, limit_lines)
