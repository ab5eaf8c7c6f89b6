"""Follows the keys file while a run is under way, so that what the run takes on is what its workers can serve."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from keyfleet.config import Environment, KeySource, KeysWatch, find_keys
from keyfleet.running.options import RunOptions

__all__ = ["KeysFollower"]

LOOK_S = 1.0
"""Interval of looking whether the file has changed (s)."""

TICK_S = 2.0
"""Largest step of a file system's times (s), which FAT has."""


class KeysFollower:
    """The keys of a run. `source` is how they are now; keys of the environment stay as they are."""

    def __init__(
        self,
        source: KeySource,
        options: RunOptions | None = None,
        *,
        read_at_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`options` has the limits that stand in place of the file's, if any. `read_at_s` is the wall time at which
        `source` was read: the first look finds what has changed since."""
        self.source = source
        self._options = options
        self._clock = clock
        self._due_s = float("-inf")
        self._watch = KeysWatch(self._load, source.path) if source.path is not None else None
        self._is_late = source.path is not None and _is_newer(source.path, read_at_s - TICK_S)

    def look(self) -> KeySource | None:
        """The keys, if they have changed; None within a second of the last look. A file that is wrong is logged."""
        now_s = self._clock()
        if self._watch is None or now_s < self._due_s:
            return None
        self._due_s = now_s + LOOK_S
        found, self._is_late = self._watch.look(is_forced=self._is_late), False
        if found is None or found.keys == self.source.keys:
            return None
        self.source = found
        return found

    def _load(self) -> KeySource:
        return find_keys(
            option_path=self.source.path,
            env=Environment.read(),
            cwd=Path.cwd(),
            requests_per_minute=self._options.requests_per_minute if self._options else None,
            tokens_per_minute=self._options.tokens_per_minute if self._options else None,
        )


def _is_newer(path: Path, than_s: float) -> bool:
    try:
        return path.stat().st_mtime > than_s
    except OSError:
        return False
