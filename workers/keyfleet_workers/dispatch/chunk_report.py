"""What a chunk was and what became of it, for Flower and the log: of its requests their places alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyfleet.clock import elapsed_s
from keyfleet.jobs.finding import short_id
from keyfleet.ledger import model_of
from keyfleet.ledger.codec import split_request_key
from keyfleet_workers.dispatch.chunk_counts import ChunkCounts
from keyfleet_workers.dispatch.taker import TakeResult

__all__ = ["ChunkEnd", "ChunkReport"]

logger = logging.getLogger(__name__)

MOST_JOBS = 3
"""Jobs that are named one by one."""

MOST_NAME_CHARACTERS = 80
"""How much of a job's name is shown."""

MOST_LINE_DIGITS = 15
"""A longer number is no line's."""

_FAILED = "failed"
_IN_BACKOFF = frozenset({"retried", "unreachable"})
_ENDED = frozenset({"succeeded", _FAILED, "stopped"})


@dataclass(frozen=True, slots=True)
class ChunkEnd:
    """What became of a chunk's requests: how many ended in which way, and the tokens that answers report.

    `instead` is what became of a ticket that brought none.
    """

    ends: Mapping[str, int] = field(default_factory=dict)
    tokens: int = 0
    instead: str = "nothing to do"

    @property
    def has_failures(self) -> bool:
        """Whether any request has failed for good."""
        return bool(self.ends.get(_FAILED))

    @property
    def has_retries(self) -> bool:
        """Whether any request is in backoff."""
        return any(self.ends.get(how) for how in _IN_BACKOFF)

    def __str__(self) -> str:
        """E.g. `30 succeeded, 1 failed, 1 went back (1 rate limited), 12,345 tokens`."""
        back = {how: count for how, count in sorted(self.ends.items()) if how not in _ENDED}
        parts = [f"{self.ends[how]:,} {how}" for how in ("succeeded", _FAILED, "stopped") if self.ends.get(how)]
        if back:
            ways = ", ".join(f"{count:,} {how.replace('_', ' ')}" for how, count in back.items())
            parts.append(f"{sum(back.values()):,} went back ({ways})")
        if self.tokens:
            parts.append(f"{self.tokens:,} tokens")
        return ", ".join(parts) or self.instead


@dataclass(slots=True)
class _Part:
    """What a chunk has of one job."""

    requests: int = 0
    first_line: int = 0
    last_line: int = 0
    has_lines: bool = True

    def add(self, request_id: str) -> None:
        self.requests += 1
        is_line = request_id.isascii() and request_id.isdecimal() and len(request_id) <= MOST_LINE_DIGITS
        self.has_lines = self.has_lines and is_line
        if self.has_lines:
            line = int(request_id)
            self.first_line = min(self.first_line or line, line)
            self.last_line = max(self.last_line, line)

    def __str__(self) -> str:
        if not self.has_lines:
            return f"{self.requests:,} request{'s' * (self.requests > 1)}"
        if self.requests == 1:
            return f"line {self.first_line}"
        if self.requests == self.last_line - self.first_line + 1:
            return f"lines {self.first_line}-{self.last_line}"
        return f"{self.requests:,} lines of {self.first_line}-{self.last_line}"


class _Content:
    """Which jobs' requests a chunk has taken. Its size depends on the number of jobs alone."""

    def __init__(self, model: str, name_of: Callable[[str], str]) -> None:
        """`name_of` tells a job's name by its id; empty where it isn't known."""
        self._model = model
        self._name_of = name_of
        self._parts: dict[str, _Part] = {}

    def add(self, keys: Iterable[str]) -> None:
        """Requests were taken, by the names that the ledger has for them."""
        for key in keys:
            job_id, request_id = split_request_key(key)
            self._parts.setdefault(job_id, _Part()).add(request_id)

    def __str__(self) -> str:
        """E.g. `gpt-4o-mini, job 3f2a81c0 (questions.jsonl) lines 1-32`."""
        shown = [self._job(job_id, part) for job_id, part in list(self._parts.items())[:MOST_JOBS]]
        if len(self._parts) > MOST_JOBS:
            shown.append(f"and {len(self._parts) - MOST_JOBS} jobs more")
        return ", ".join([self._model, *shown])

    def _job(self, job_id: str, part: _Part) -> str:
        name = self._name_of(job_id)[:MOST_NAME_CHARACTERS]
        return f"job {short_id(job_id)}{f' ({name})' if name else ''} {part}"

    def fields(self) -> dict[str, Any]:
        """The same for a log that programs read."""
        jobs = [
            {"id": job_id, "name": self._name_of(job_id), "requests": part.requests}
            for job_id, part in self._parts.items()
        ]
        return {"model": self._model, "jobs": jobs}


class ChunkReport:
    """Follows one chunk. `counts` is told by its calls how they end."""

    def __init__(
        self, queue: str, key_name: str, name_of: Callable[[str], str], tell: Callable[[object], None]
    ) -> None:
        """`tell` is given what the chunk is, as soon as that is known and whenever it grows; its text may need a look
        at the server."""
        self.counts = ChunkCounts()
        self._content = _Content(model_of(queue), name_of)
        self._queue = queue
        self._key_name = key_name
        self._tell = tell
        self._began_s = elapsed_s()
        self._waited_ms = 0

    def note(self, result: TakeResult) -> None:
        """Something was taken; some of it may have ended at once, without a call."""
        failed = len(result.impossible) + len(result.expired) + len(result.malformed)
        taken = (*result.taken, *result.impossible, *result.expired, *result.dropped)
        self._content.add(one.key for one in taken)
        oldest_ms = min((one.accepted_ms for one in taken if one.accepted_ms), default=result.grant.granted_ms)
        self._waited_ms = max(self._waited_ms, result.grant.granted_ms - oldest_ms)
        self.counts.add(_FAILED, failed)
        self.counts.add("stopped", len(result.dropped))
        if taken:
            self._tell(self._content)

    def end(self) -> ChunkEnd:
        """All of it has ended; it is logged.

        In the log `waited_s` is how long the one that waited longest had been accepted when it was taken, and
        `provider_s` the time of all calls together.
        """
        end = ChunkEnd({how: count for how, count in self.counts.ends.items() if count}, self.counts.tokens)
        if end.ends and logger.isEnabledFor(logging.INFO):
            fields = {
                "event": "chunk",
                "key": self._key_name,
                "queue": self._queue,
                **self._content.fields(),
                "ends": dict(end.ends),
                "tokens": end.tokens,
                "waited_s": self._waited_ms / 1000,
                "provider_s": round(self.counts.provider_s, 3),
                "duration_s": round(elapsed_s() - self._began_s, 3),
            }
            logger.info("chunk of %s: %s", self._content, end, extra={"fields": fields})
        return end
