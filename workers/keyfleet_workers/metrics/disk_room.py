"""Has the disk set room aside for files that prometheus_client maps into memory.

It makes them sparse, and who writes into a mapped page for which a full disk has no block is killed with a SIGBUS.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO

__all__ = ["DiskRoom", "make_room", "used_bytes"]

FIRST_BYTES = 1 << 16
"""The size at which prometheus_client makes a file; it doubles that whenever the file is full."""

SERIES_BYTES = 3 << 14
"""More than one histogram takes, the name of whose model has as many characters as are told, all of them escaped.
Below `FIRST_BYTES`, so that no file must be doubled twice for one series."""

MAPPED = ("counter", "histogram", "gauge_livesum")
"""What the names of a process's files begin with."""


class DiskRoom:
    """The room for one process's metrics, which grows with them."""

    def __init__(self, directory: Path) -> None:
        """Makes this process's files before prometheus_client would. Raises OSError, and leaves no file then."""
        paths = [directory / f"{kind}_{os.getpid()}.db" for kind in MAPPED]
        self._files: list[IO[bytes]] = []
        try:
            for path in paths:
                self._files.append(path.open("a+b"))
            self.for_one_more()
        except OSError:
            for file in self._files:
                file.close()
            for path in paths:
                path.unlink(missing_ok=True)
            raise

    def for_one_more(self) -> None:
        """To be called before every new series. Raises OSError where the disk is full."""
        for file in self._files:
            make_room(file, SERIES_BYTES)


def make_room(file: IO[bytes], more_bytes: int) -> None:
    """Make sure that so much more can be written into a file once it is mapped.

    Its size stays one that prometheus_client would have come to, which then finds the room made. Systems without
    posix_fallocate, as macOS, and file systems that move what is overwritten, are left as they are. Raises OSError.
    """
    size_bytes = os.fstat(file.fileno()).st_size
    wanted_bytes = max(FIRST_BYTES, size_bytes)
    while wanted_bytes < used_bytes(file) + more_bytes:
        wanted_bytes *= 2
    if wanted_bytes > size_bytes and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, wanted_bytes)


def used_bytes(file: IO[bytes]) -> int:
    """How much of a file is written, as its head tells; 0 where it has none."""
    head = os.pread(file.fileno(), 4, 0)
    return int(struct.unpack("i", head)[0]) if len(head) == 4 else 0
