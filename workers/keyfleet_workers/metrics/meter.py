"""What the parts of a worker tell of what they do. Where nobody asks for metrics, nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keyfleet.ledger import Reaped

__all__ = ["NO_METER", "Meter", "Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a worker stands at a moment. `waits` are the present ones as (queue, reason class); `waited_s` has for each
    of those that ever were how long they have lasted in all (s)."""

    in_flight: int
    slots: int
    leases: int
    waits: frozenset[tuple[str, str]] = frozenset()
    waited_s: Mapping[tuple[str, str], float] = field(default_factory=dict)


class Meter:
    """Is told everything and keeps nothing. Queues are named; reasons and results are classes, never messages."""

    def began(self, worker_id: str) -> None:
        """The worker serves its key from now on."""

    def ends(self) -> None:
        """The worker takes nothing more."""

    def called(self, queue: str, result: str, took_s: float, reported_tokens: int, reserved_tokens: int) -> None:
        """A provider was asked, and this came of it."""

    def ended(self, queue: str, how: str, requests: int, ages_s: Sequence[float] = ()) -> None:
        """So many requests ended in this way, or went back; `ages_s`: how long before they were accepted (s)."""

    def ticket(self, queue: str, what: str, count: int = 1) -> None:
        """What became of tickets, or that some were issued."""

    def reaped(self, queue: str, found: Reaped) -> None:
        """The reaper, which this worker owned for a beat, has found something in a queue."""

    def stand(self, standing: Standing) -> None:
        """Told about once a second."""


NO_METER = Meter()
