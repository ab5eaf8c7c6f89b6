"""What producers and workers agree on: a request on its way in, and its outcome on its way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CALLER_GONE",
    "CALL_STOPPED",
    "DEADLINE_EXCEEDED",
    "STREAM_BROKEN",
    "TOO_LARGE_FOR_KEY",
    "AttemptError",
    "Cost",
    "Outcome",
    "Request",
]

TOO_LARGE_FOR_KEY = "too large for this key"
"""What a worker says it waits for where none of the requests that are ready can ever start with its key."""

CALLER_GONE = "caller_gone"
"""Code of the final error of a request that was dropped because its caller has said nothing for long."""

CALL_STOPPED = "call_stopped"
"""Code of the final error of a call that was stopped in flight, since nobody waited for its answer any more."""

STREAM_BROKEN = "stream_broken"
"""Code of the final error of an answer that ended in its midst: its caller has had a part of it."""

DEADLINE_EXCEEDED = "deadline_exceeded"
"""Code of the final error of a request that could not be started in time."""

REASON_CHARACTERS = 160
"""Longest reason by which failures are counted."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request takes of limits beside the call itself: tokens of prompt and allowed output, and images made."""

    tokens: int
    images: int = 0

    def describe(self) -> str:
        """In words: `120 tokens`, `40 tokens and 2 images`."""
        return f"{self.tokens} tokens" + (f" and {self.images} images" if self.images else "")


@dataclass(frozen=True, slots=True)
class Request:
    """One API call to be made.

    `id` is unique within its job (a file's line number, in decimal). `body` is the JSON text that is sent as it
    stands. `cost_tokens` is prompt plus allowed output, `cost_images` how many images it makes. `context` is the
    caller's own and comes back with the outcome (for files: `custom_id`, `metadata`); it must be JSON and is never
    sent. `start_within_ms` is how long after its acceptance it may still be started (0: for ever); later it ends with
    DEADLINE_EXCEEDED, unpaid. `pack` names what one call may carry together (empty: it is sent alone). `streams`: its
    answer comes in pieces, as the provider sends them; for callers alone.
    """

    id: str
    endpoint: str
    model: str
    body: bytes = field(repr=False)
    cost_tokens: int
    context: dict[str, Any] = field(default_factory=dict, repr=False)
    urgent: bool = False
    start_within_ms: int = 0
    pack: str = ""
    streams: bool = False
    cost_images: int = 0


@dataclass(frozen=True, slots=True)
class AttemptError:
    """One failed attempt. `status` is the HTTP status, or None where no whole answer arrived."""

    status: int | None
    code: str
    message: str
    key_name: str | None = None
    at_s: float = 0.0
    """Wall-clock time of the failure, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one end of a request: a response (`ok`) or a final error.

    `body` is the provider's JSON text: the answer, or for a final provider error its error document (None where no
    answer came). `request_body` is the body that was sent, where the job asked for it back. `errors` holds every
    failed attempt, the last one last; for a final error it is never empty. `attempts` counts the calls that were
    paid for or may have been. `tokens` is the usage that the provider reported, else what was reserved. `pieces` is how
    many came before it, of an answer that comes in such.
    """

    id: str
    ok: bool
    status: int | None
    body: bytes | None = field(repr=False)
    attempts: int
    errors: tuple[AttemptError, ...] = ()
    key_name: str | None = None
    request_id: str | None = None
    tokens: int = 0
    finished_s: float = 0.0
    context: dict[str, Any] = field(default_factory=dict, repr=False)
    request_body: bytes | None = field(default=None, repr=False)
    pieces: int = 0

    @property
    def failure_reason(self) -> str:
        """Status and code of the final error, by which failures are counted; empty for a success."""
        if self.ok:
            return ""
        if not self.errors:
            return str(self.status or "failed")
        error = self.errors[-1]
        return (f"{error.status} {error.code}" if error.status else error.code)[:REASON_CHARACTERS]
