"""Notices that the keys file has changed, and reads it again; a file that can't be used changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from keyfleet.config.sources import KeySource
from keyfleet.errors import ConfigurationError

__all__ = ["SETTLE_S", "KeysWatch"]

logger = logging.getLogger(__name__)

SETTLE_S = 0.2
"""A file that changed less than this ago may be half written."""

_Signature: TypeAlias = "tuple[int, int, int, int]"


class KeysWatch:
    """To be looked at about once a second, by one thread. While nothing changes, a look costs one `stat`.

    `stat` follows links, so it also sees editors that put another file in place, and the links that Docker and
    Kubernetes swing to a new directory for a changed secret or ConfigMap. Weakness: a change that leaves size and
    time of the file as they were isn't seen, such as one within the tick of a file system with whole seconds.
    """

    def __init__(self, load: Callable[[], KeySource], path: Path, *, now_s: Callable[[], float] = time.time) -> None:
        """`load` reads the file at `path`, and raises ConfigurationError. `now_s` is the clock of the file's times.

        Make the watch before the file is read for the first time, so that no change falls between the two.
        """
        self._load = load
        self._path = path
        self._now_s = now_s
        self._seen: _Signature | None = None
        self._is_missing = False
        self._digest: bytes | None = None
        with contextlib.suppress(OSError):  # the first look says so
            self._digest = self._read_digest()

    def look(self, *, is_forced: bool = False) -> KeySource | None:
        """The keys of the file, if it holds something new that can be used; else None.

        What can't be used is logged as one error, with file and line, and passed over until the file changes again.
        A file that is gone is logged once. `is_forced` reads it whether or not it has changed, also if that was only
        just now: for whoever asks for it (SIGHUP), since variables that it refers to may have changed instead.
        """
        try:
            return self._look(is_forced)
        except OSError as error:
            if not self._is_missing:
                logger.warning("%s can't be read (%s); the keys stay as they are", self._path, error.strerror)
            self._is_missing = True
            self._seen = None
            return None

    def _look(self, is_forced: bool) -> KeySource | None:
        """Raises OSError where the file can't be read."""
        signature = self._signature()
        self._is_missing = False
        if signature == self._seen and not is_forced:
            return None
        is_fresh = abs(self._now_s() - signature[-1] / 1e9) < SETTLE_S
        if is_fresh and not is_forced:
            return None
        digest = self._read_digest()
        source, problem = self._load_again() if is_forced or digest != self._digest else (None, None)
        if self._signature() != signature:
            return None  # it was written while it was read; the next look has all of it
        self._seen = None if is_fresh else signature
        if problem is not None:
            logger.error("%s; the keys stay as they are", problem)
            return None
        self._digest = digest
        return source

    def _load_again(self) -> tuple[KeySource | None, str | None]:
        """The keys, or what is wrong with the file."""
        try:
            return self._load(), None
        except ConfigurationError as error:
            return None, str(error)

    def _signature(self) -> _Signature:
        found = self._path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _read_digest(self) -> bytes:
        return hashlib.sha256(self._path.read_bytes()).digest()
