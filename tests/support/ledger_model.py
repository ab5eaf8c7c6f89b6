"""What the ledger should hold, told by a few lines of Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keyfleet.ledger import Taken
from support.stand_in import ServerClock

__all__ = ["Entry", "LedgerModel", "State"]

MAX_EXPIRIES = 3

State = Literal["ready", "running", "delayed", "done"]


@dataclass
class Entry:
    """One accepted request."""

    key: str
    number: int
    urgent: bool
    cost: int
    state: State = "ready"
    token: str = ""
    until_ms: int = 0
    due_ms: int = 0
    attempts: int = 0
    expiries: int = 0

    def order(self) -> tuple[bool, int]:
        """Sorts by the order in which requests are taken."""
        return (not self.urgent, self.number)

    def release(self, state: State) -> None:
        """No worker holds it any more."""
        self.state, self.token = state, ""


class LedgerModel:
    """All accepted requests, whatever became of them, and the outcomes that were written."""

    def __init__(self, clock: ServerClock) -> None:
        self.clock = clock
        self.entries: dict[str, Entry] = {}
        self.ends: dict[str, bool] = {}

    def open_entries(self) -> list[Entry]:
        """Requests without an outcome."""
        return [entry for entry in self.entries.values() if entry.state != "done"]

    def in_state(self, state: State) -> list[Entry]:
        """Requests in one state, in the order in which they would be taken."""
        return sorted((entry for entry in self.entries.values() if entry.state == state), key=Entry.order)

    def holds(self, taken: Taken) -> bool:
        """Whether the lease of `taken` stands."""
        entry = self.entries[taken.key]
        return entry.state == "running" and entry.token == taken.token

    def end(self, key: str, ok: bool) -> None:
        """An outcome was written."""
        self.entries[key].release("done")
        self.ends[key] = ok

    def move_due(self) -> int:
        """Make ready whose backoff is over; returns how many."""
        due = [entry for entry in self.in_state("delayed") if entry.due_ms <= self.clock.now_ms]
        for entry in due:
            entry.release("ready")
        return len(due)

    def expire(self) -> tuple[int, set[str]]:
        """End the leases that are over; returns how many, and the requests that are to be given up."""
        late = [entry for entry in self.in_state("running") if entry.until_ms <= self.clock.now_ms]
        for entry in late:
            entry.expiries += 1
            if entry.expiries < MAX_EXPIRIES:
                entry.release("ready")
        return len(late), {entry.key for entry in late if entry.expiries >= MAX_EXPIRIES}
