"""When a run should end before its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyfleet.running.snapshot import Snapshot

__all__ = ["Watchdog"]

REFUSED_S = 3.0
"""How long every key may be refused before a run that has brought nothing yet ends (s)."""

LONGEST_TICK_S = 1.0
"""A longer pause between two looks is time asleep or stopped, which doesn't count (s)."""


class Watchdog:
    """Decides on stopping early. Time is counted in looks, so that time asleep is not."""

    def __init__(self, give_up_after_s: float | None, *, stop_early: bool) -> None:
        """`give_up_after_s`: time without any outcome; None waits for ever."""
        self._give_up_after_s = give_up_after_s
        self._stop_early = stop_early
        self._finished = -1
        self._idle_s = 0.0
        self._refused_s = 0.0

    def look(self, snapshot: Snapshot, refused: str | None, tick_s: float) -> str | None:
        """Why to stop now, or None. `tick_s` is the time since the last look.

        `refused` says why no key can work at all: at the start of a run that is a mistake rather than bad luck, while
        later on somebody may mend it as the run waits.
        """
        tick_s = 0.0 if snapshot.is_paused else min(tick_s, LONGEST_TICK_S)
        self._idle_s = 0.0 if snapshot.tally.finished != self._finished else self._idle_s + tick_s
        self._finished = snapshot.tally.finished
        self._refused_s = self._refused_s + tick_s if refused and not snapshot.tally.finished else 0.0
        if self._stop_early and (reason := snapshot.tally.early_stop_reason()):
            return f"the first outcomes are all the same error ({reason}); --no-stop-early goes on all the same"
        if self._stop_early and self._refused_s >= REFUSED_S:
            return f"every key is refused ({refused}); --no-stop-early waits for one that is not"
        if self._give_up_after_s is not None and self._idle_s >= self._give_up_after_s:
            return f"nothing was finished for {self._give_up_after_s:.0f} s (--give-up-after)"
        return None
