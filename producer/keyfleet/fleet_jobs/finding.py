"""Which job is meant: by its id, a unique beginning of it, or its name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from keyfleet.errors import InputError, JobNotFound
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec, all_folders
from keyfleet.ledger import JobRecord

__all__ = ["NO_NAMES", "find_folder", "find_record"]

logger = logging.getLogger(__name__)

NO_NAMES = ("submitted", "map")
"""What stands in the records of jobs that have no name."""

SHOWN_CHARACTERS = 8
"""How much of an id a message shows."""


def find_folder(state_dir: Path, name: str) -> tuple[JobFolder, JobSpec] | None:
    """The job of this host that is meant; of several with this name the one begun last. Raises JobNotFound where a
    beginning of an id is that of several."""
    folders = [folder for folder in all_folders(state_dir) if folder.is_begun]
    found = [(folder, spec) for folder in folders if (spec := _spec(folder)) is not None]
    by_id = [one for one in found if name and one[1].job_id.startswith(name)]
    exact = [one for one in by_id if one[1].job_id == name]
    if exact:
        return exact[0]
    by_name = [one for one in found if one[1].name and one[1].name == name]
    if by_name:
        return max(by_name, key=lambda one: one[1].begun_s)
    _check_unique(name, [spec.job_id for _, spec in by_id])
    return by_id[0] if by_id else None


def find_record(records: Sequence[JobRecord], name: str) -> JobRecord:
    """The job of a program on another host that is meant. Raises JobNotFound."""
    ours = [record for record in records if record.facts.format == "fleet" and not record.facts.retry_of]
    by_name = [record for record in ours if name not in ("", *NO_NAMES) and record.facts.name == name]
    if by_name:
        return max(by_name, key=lambda record: record.begun_ms)
    by_id = [record for record in ours if name and record.job_id.startswith(name)]
    _check_unique(name, [record.job_id for record in by_id if record.job_id != name])
    if not by_id:
        raise JobNotFound(f"{name}: there is no such job, neither on this host nor in the broker")
    return by_id[0]


def _check_unique(name: str, ids: Sequence[str]) -> None:
    if len(ids) > 1:
        shown = ", ".join(sorted(job_id[:SHOWN_CHARACTERS] for job_id in ids))
        raise JobNotFound(f"{name}: several jobs begin like that ({shown}); give more of the id")


def _spec(folder: JobFolder) -> JobSpec | None:
    try:
        return folder.spec()
    except InputError as error:
        logger.warning("%s", error)
        return None
