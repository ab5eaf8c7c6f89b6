"""The system calls that change files of a job, in one place, so that crash tests can stop between any two of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path

__all__ = ["append", "cut", "open_for_append", "remove", "rename", "sync", "sync_directory"]

READ_WRITE_MODE = 0o666
"""Permissions of a new file before the user's umask."""

PRIVATE_MODE = 0o600
"""Those of a new file in a directory that is its owner's alone."""


def open_for_append(path: Path) -> int:
    """A file descriptor for reading and appending; the file is created where it doesn't exist."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        is_private = not path.parent.stat().st_mode & 0o077
        return os.open(path, flags | os.O_CREAT, PRIVATE_MODE if is_private else READ_WRITE_MODE)


def append(fd: int, data: bytes) -> None:
    """Write all of `data` at the end. A kill can leave a part of it; nothing counts before `sync` returns."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync(fd: int) -> None:
    """Return once data and size are on the disk itself, through power loss too."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync on macOS stops at the drive's cache
    else:
        os.fdatasync(fd)


def cut(fd: int, length_bytes: int) -> None:
    """Cut a file back to its first `length_bytes` bytes."""
    os.ftruncate(fd, length_bytes)


def rename(source: Path, target: Path) -> None:
    """Put `source` in the place of `target`, all at once."""
    source.replace(target)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in a directory durable. Some file systems can't; there it does nothing."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)
