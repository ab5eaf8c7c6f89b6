"""Reads the files in which processes count. One that is broken, by a full disk or a crash, spoils no page."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from keyfleet_workers.metrics.disk_room import make_room, used_bytes

__all__ = ["CountedFiles", "add_up"]

logger = logging.getLogger(__name__)

UNREADABLE = (struct.error, RuntimeError, ValueError, TypeError, AttributeError)
"""What prometheus_client raises at broken files: an empty one, one cut off, and one with something else in it."""


class CountedFiles(Collector):
    """All files of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = MultiProcessCollector(None, str(directory))

    def collect(self) -> Iterable[Metric]:
        try:
            return list(self._files.collect())
        except UNREADABLE:
            for path in self._directory.glob("*.db"):
                _drop_if_broken(path)
            return list(self._files.collect())


def add_up(one: Path, into: Path) -> None:
    """Add what a process has counted in `one` to `into`, which may not be there yet. Broken files count as nothing.

    Raises OSError.
    """
    counted = _drop_if_broken(one)
    if not counted:
        return
    if into.exists():
        _drop_if_broken(into)
    with one.open("rb") as read, into.open("a+b") as written:
        try:
            make_room(written, used_bytes(read))
        except OSError:
            if not used_bytes(written):
                into.unlink()
            raise
    total = MmapedDict(str(into))
    try:
        for key, value in counted.items():
            total.write_value(key, total.read_value(key)[0] + value, 0.0)
    finally:
        total.close()


def _drop_if_broken(path: Path) -> dict[str, float]:
    """What is counted in a file; nothing for a broken one, which is removed. Raises OSError."""
    try:
        return _counted(path)
    except UNREADABLE as error:
        logger.warning("%s of the metrics is broken and left out (%s)", path.name, type(error).__name__)
        path.unlink(missing_ok=True)
        return {}


def _counted(path: Path) -> dict[str, float]:
    counted = {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path))}
    for key in counted:
        _, _, labels, _ = json.loads(key)
        labels.items()
    return counted
