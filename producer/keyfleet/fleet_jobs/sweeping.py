"""Removing the directories of jobs that nobody needs any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from keyfleet.config import Settings
from keyfleet.errors import InputError
from keyfleet.fleet_jobs.folder import JobFolder, all_folders
from keyfleet.fleet_jobs.journal_tail import JournalTail, is_locked

__all__ = ["sweep"]

logger = logging.getLogger(__name__)

EPHEMERAL_S = 60.0
"""How long a job stays that is of no use, since it was one of `map` or had not quite begun, and whose process is gone
(s): one that has just begun may not be locked yet."""


def sweep(state_dir: Path, settings: Settings, *, clock: Callable[[], float] = time.time) -> int:
    """Remove what done jobs have left after `keep_jobs_s`, other jobs after `outcome_ttl_s` without a change if that is
    longer, and those of `map` soon; never one that is running. Returns how many. `clock` tells seconds since the epoch.
    """
    removed = 0
    for folder in all_folders(state_dir):
        try:
            is_old = clock() - folder.touched_s > _kept_s(folder, settings)
            if is_old and not is_locked(folder.paths.journal):
                folder.remove()
                removed += 1
        except FileNotFoundError:  # somebody else has removed it just now
            continue
    return removed


def _kept_s(folder: JobFolder, settings: Settings) -> float:
    try:
        if not folder.is_begun or folder.spec().is_ephemeral:
            return EPHEMERAL_S
        tail = JournalTail(folder.paths.journal)
        tail.look()
    except InputError as error:
        logger.warning("%s", error)
    else:
        if tail.is_done:
            return settings.keep_jobs_s
    return max(settings.keep_jobs_s, settings.outcome_ttl_s)
