"""What the ledger says of a job as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from keyfleet.ledger.job_failures import bounded_reasons

__all__ = [
    "KEEP_JOBS_MS",
    "Closing",
    "JobFacts",
    "JobRecord",
    "JobState",
    "JobTotals",
    "ProducerWord",
    "Withdrawal",
    "Withdrawn",
]

KEEP_JOBS_MS = 7 * 86_400_000
"""How long the record of a done job stays, unless it is told otherwise (ms)."""

ALIVE_MS = 10_000
"""A producer that was not seen for longer is taken as gone (ms); it says that it lives every half second."""


SHORTEST_PACE_MS = 2_000
"""Over a shorter time no pace is taken (ms)."""


class JobState(Enum):
    """`interrupted`: it is not done, and no producer runs it now. `paused`: by hand, whoever runs it."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"


class ProducerWord(Enum):
    """What a producer hears when it says that it lives."""

    OPEN = "open"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Withdrawal(IntEnum):
    """Which requests are to be withdrawn: none that a worker holds, and of the others all, or those alone for which
    nothing may have been paid. Of what is given up, what a worker holds is stopped, and never started again."""

    WAITING = 0
    GIVEN_UP = 1
    UNPAID = 2


class Withdrawn(IntEnum):
    """What became of a request that was to be withdrawn. `SPENT`: it was given up, and had been sent before."""

    GONE = -1
    HELD = 0
    WITHDRAWN = 1
    SPENT = 2


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a job is. `retry_of` is the id of the job whose failed lines it sends again."""

    name: str = ""
    input: str = ""
    output: str = ""
    host: str = ""
    format: str = ""
    retry_of: str = ""

    def fields(self) -> dict[str, str]:
        """As they stand in the job's hash."""
        return {
            "name": self.name,
            "input": self.input,
            "output": self.output,
            "host": self.host,
            "format": self.format,
            "retry_of": self.retry_of,
        }


@dataclass(frozen=True, slots=True)
class JobTotals:
    """How many requests of a job ended, as its files say. `reasons` counts the failed ones by why they failed."""

    succeeded: int = 0
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Closing:
    """How a job ends. A retry ends `into` the job whose failed lines it has sent: (its fleet, its id)."""

    totals: JobTotals | None = None
    into: tuple[str, str] | None = None

    def arguments(self, facts: JobFacts) -> list[str | int]:
        """The end of ARGV of `close.lua`."""
        if self.totals is None:
            return [0]
        totals = self.totals
        fields: dict[str, str | int] = {**facts.fields(), "retry_of": ""}
        fields |= {"succeeded": totals.succeeded, "failed": totals.failed, "accepted": totals.succeeded + totals.failed}
        reasons = bounded_reasons(totals.reasons)
        return [2 * len(fields), *(part for pair in [*fields.items(), *reasons.items()] for part in pair)]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job's hash. Times are the server's, in ms; 0 where there is none.

    `total` is how many requests the job has, as its producer says, `accepted` how many of them the server has taken so
    far. `pace_from`: a time a minute or two ago, and how many had ended by then.
    """

    fleet: str
    job_id: str
    facts: JobFacts
    accepted: int
    succeeded: int
    failed: int
    begun_ms: int
    seen_ms: int
    done_ms: int
    left_ms: int
    mark: str
    total: int = 0
    pace_from: tuple[int, int] | None = None

    @classmethod
    def of(cls, fleet: str, job_id: str, found: Mapping[bytes, bytes]) -> JobRecord:
        """From the hash; what can't be read there counts as missing."""

        def text(name: str) -> str:
            return found.get(name.encode(), b"").decode(errors="replace")

        def number(name: str) -> int:
            value = found.get(name.encode(), b"")
            return int(value) if value.isdigit() else 0

        facts = JobFacts(**{name: text(name) for name in JobFacts().fields()})
        counts = (number("accepted"), number("succeeded"), number("failed"))
        times = (number("begun_ms"), number("seen_ms"), number("done_ms"), number("left_ms"))
        return cls(fleet, job_id, facts, *counts, *times, text("state"), number("total"), _pace_from(found))

    def requests_per_s(self, now_ms: int) -> float | None:
        """How many of its requests have ended per second lately; None where that isn't known."""
        if self.pace_from is None or not self.is_alive(now_ms):
            return None
        since_ms, ended = self.pace_from
        if now_ms - since_ms < SHORTEST_PACE_MS:
            return None
        return max(0, self.succeeded + self.failed - ended) * 1000 / (now_ms - since_ms)

    def is_alive(self, now_ms: int) -> bool:
        """Whether a producer runs it now."""
        return self.mark != "done" and not self.left_ms and now_ms - self.seen_ms < ALIVE_MS

    def state(self, now_ms: int) -> JobState:
        """As people call it."""
        if self.mark in ("done", "cancelled"):
            return JobState(self.mark)
        return JobState.RUNNING if self.is_alive(now_ms) else JobState.INTERRUPTED


def _pace_from(found: Mapping[bytes, bytes]) -> tuple[int, int] | None:
    """The earlier of the two marks that `seen.lua` keeps."""
    for name in (b"pace_before", b"pace"):
        since_ms, ended = found.get(name + b"_ms", b""), found.get(name + b"_ended", b"")
        if since_ms.isdigit() and ended.isdigit():
            return int(since_ms), int(ended)
    return None
