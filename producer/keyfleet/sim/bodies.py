"""Telling requests apart by their bodies, to find those that were sent more than once."""

from __future__ import annotations

from collections import Counter

__all__ = ["BodyLedger"]


class BodyLedger:
    """Which bodies were answered and sent again.

    Bodies go by 16-byte digests, so memory grows with their number and not with their size.
    """

    __slots__ = ("_answered", "_concurrent", "_in_flight", "_repeated")

    def __init__(self) -> None:
        self._in_flight: Counter[bytes] = Counter()
        self._answered: set[bytes] = set()
        self._repeated: set[bytes] = set()
        self._concurrent: set[bytes] = set()

    def arrive(self, digest: bytes) -> None:
        """A request with this body is here."""
        if digest in self._answered:
            self._repeated.add(digest)
        if digest in self._in_flight:
            self._concurrent.add(digest)
        self._in_flight[digest] += 1

    def leave(self, digest: bytes, *, succeeded: bool) -> None:
        """Such a request is over; `succeeded`: a good answer was handed whole to the network."""
        if self._in_flight[digest] > 1:
            self._in_flight[digest] -= 1
        else:
            del self._in_flight[digest]
        if succeeded:
            self._answered.add(digest)

    def counts(self) -> dict[str, int]:
        """Numbers of bodies: answered, sent again after a success, and under way twice at one time."""
        return {
            "answered_bodies": len(self._answered),
            "sent_after_success": len(self._repeated),
            "concurrent_duplicates": len(self._concurrent),
        }
