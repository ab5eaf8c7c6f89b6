"""Whether the disks that a run writes to have room for what is under way."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["DiskRoom", "size_text"]


def _free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


class DiskRoom:
    """Looks at the file systems of `directories`, each of which should keep `floor_bytes` free."""

    def __init__(
        self, directories: Sequence[Path], floor_bytes: int, *, free_bytes: Callable[[Path], int] = _free_bytes
    ) -> None:
        self._directories = tuple(dict.fromkeys(directories))
        self._floor_bytes = floor_bytes
        self._free_bytes = free_bytes

    def shortage(self) -> str:
        """Which directory has too little room, in words; empty where each has enough, or can't be looked at."""
        for directory in self._directories:
            try:
                free_bytes = self._free_bytes(directory)
            except OSError:  # whoever writes there says what is wrong
                continue
            if free_bytes < self._floor_bytes:
                return (
                    f"{directory} has {size_text(free_bytes)} free, less than {size_text(self._floor_bytes)} "
                    "(KEYFLEET_MIN_FREE_DISK)"
                )
        return ""


def size_text(size_bytes: int) -> str:
    """`950 kB`, `1.5 GB`."""
    size, units = float(size_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{int(size * 10) / 10:g} {units[0]}"  # cut off, so that what is too little never looks like enough
