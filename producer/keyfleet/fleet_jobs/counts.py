"""How many requests of a job there are, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["JobCounts"]


@dataclass(frozen=True, slots=True)
class JobCounts:
    """`total` are the requests that were read so far; all there are once `is_complete`, which stays False where the
    program ended, or its iterable raised, before it was read to its end. Of the `failed`, `cancelled` and `expired`
    were never sent: their job was cancelled, or its deadline had passed.
    """

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    is_complete: bool = False

    @property
    def finished(self) -> int:
        """Requests that have a result."""
        return self.succeeded + self.failed

    @property
    def open(self) -> int:
        """Requests that were read and have no result yet."""
        return max(0, self.total - self.finished)
