"""How much a key did in the last minute."""

from __future__ import annotations

from collections import deque

from keyfleet.clock import elapsed_s

__all__ = ["Pace"]

MINUTE_S = 60.0


class Pace:
    """Looked at once a second or so, by one thread."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque([(elapsed_s(), 0, 0)])

    def look(self, requests: int, tokens: int) -> dict[str, int]:
        """Requests and tokens of the last minute, from the sums since the beginning."""
        now_s = elapsed_s()
        while len(self._marks) > 1 and now_s - self._marks[1][0] >= MINUTE_S:
            self._marks.popleft()
        _, requests_before, tokens_before = self._marks[0]
        self._marks.append((now_s, requests, tokens))
        return {"requests": requests - requests_before, "tokens": tokens - tokens_before}
