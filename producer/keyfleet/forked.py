"""What a forked process must not keep open, since others tell by it whether the process that opened it still lives."""

from __future__ import annotations

import contextlib
import os

__all__ = ["close_in_forks", "forget_in_forks"]

_descriptors: set[int] = set()


def close_in_forks(descriptor: int) -> None:
    """Have an open file closed in every child that is forked from now on, and runs no program of its own."""
    _descriptors.add(descriptor)


def forget_in_forks(descriptor: int) -> None:
    """An open file is about to be closed here."""
    _descriptors.discard(descriptor)


def _close_all() -> None:
    while _descriptors:
        with contextlib.suppress(OSError):
            os.close(_descriptors.pop())


os.register_at_fork(after_in_child=_close_all)
