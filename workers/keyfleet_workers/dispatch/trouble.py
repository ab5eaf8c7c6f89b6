"""Failures in a row of one key's provider: pause and probe, so that an outage doesn't burn everybody's attempts."""

from __future__ import annotations

import threading

from keyfleet.clock import elapsed_s

__all__ = ["RefusedRequests", "Trouble"]

FAILURES_IN_A_ROW = 5
"""So many failed calls without any answer between them are an outage rather than bad luck."""

FIRST_PAUSE_MS = 1000
LONGEST_PAUSE_MS = 60_000
"""Pause before the next probe: doubled after each one that fails (ms)."""

RETRY_PAUSES = 4
"""During an outage a request that failed waits for so many pauses, so that each probe is another request's."""

PASSED_OVER_PAUSES = 2
"""The same for a request that something on the way to the provider refused."""

REFUSALS_FORGIVEN = 3
"""So often may a request be refused on a way that works for others, before the refusals count as its attempts."""

LIMITED_FORGIVEN = 20
"""The same for one that meets a limit again and again, though our count shows room and others pass in between."""

MOST_REFUSED = 1_000
"""Refused requests that are remembered."""


class Trouble:
    """Counts failures in a row. While it is suspect, the worker should have one call under way, as a probe.

    Calls that were under way together fail together: those that began before the last pause count no more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_ms = 0
        self._paused_s = float("-inf")

    @property
    def is_suspect(self) -> bool:
        """Whether the last thing known of the provider is that it fails."""
        return self._pause_ms > 0

    @property
    def least_delay_ms(self) -> int:
        """How long a request that failed should wait at least."""
        return RETRY_PAUSES * self._pause_ms

    @property
    def passed_over_ms(self) -> int:
        """How long a request that was refused on the way should wait at least."""
        return PASSED_OVER_PAUSES * self._pause_ms

    def has_paused_since(self, at_s: float) -> bool:
        """Whether calls have been paused since `at_s`: what was taken by then is no probe."""
        return at_s < self._paused_s

    def note_answer(self) -> None:
        """The provider answered something that is no failure of its own."""
        if self._failures:
            with self._lock:
                self._failures, self._pause_ms = 0, 0

    def note_failure(self, began_s: float, *, at_once: bool = False) -> int | None:
        """A call that began at `began_s` failed. The pause that is due now (ms), None for none.

        `at_once`: nothing could be sent at all, so that trying the next request would be no use.
        """
        with self._lock:
            if began_s < self._paused_s:
                return None
            self._failures += 1
            if not at_once and not self._pause_ms and self._failures < FAILURES_IN_A_ROW:
                return None
            self._pause_ms = min(LONGEST_PAUSE_MS, max(FIRST_PAUSE_MS, 2 * self._pause_ms))
            self._paused_s = elapsed_s()
            return self._pause_ms


class RefusedRequests:
    """Requests that were refused although others had passed since they were refused last.

    A firewall may object to the words of one prompt, or a limit that nobody names be smaller than one request. Whether
    it is so shows only in the long run: a portal that has come up refuses everybody, and who meets it first is not to
    blame.
    """

    def __init__(self, forgiven: int) -> None:
        """`forgiven` refusals are blamed on chance."""
        self._forgiven = forgiven
        self._lock = threading.Lock()
        self._refusals: dict[str, tuple[int, int]] = {}

    def note(self, request_key: str, passed: int) -> None:
        """Refused once more; `passed` others have passed by now."""
        with self._lock:
            count, passed_before = self._refusals.pop(request_key, (0, -1))
            self._refusals[request_key] = count + (passed > passed_before), passed
            if len(self._refusals) > MOST_REFUSED:
                del self._refusals[next(iter(self._refusals))]

    def is_to_blame(self, request_key: str) -> bool:
        """Whether it has been refused more often than chance explains."""
        return self._refusals.get(request_key, (0, 0))[0] > self._forgiven
