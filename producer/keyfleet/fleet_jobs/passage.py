"""One pass over a job's results, from the first one to the end of the job."""

from __future__ import annotations

import logging

from keyfleet.errors import FleetClosed, InputError
from keyfleet.fleet_jobs.folder import JobFolder
from keyfleet.fleet_jobs.following import JobFiling, Standing
from keyfleet.fleet_jobs.owner import JobOwner
from keyfleet.fleet_jobs.result_reader import ResultReader
from keyfleet.results import Result

__all__ = ["Passage"]

logger = logging.getLogger(__name__)


class Passage:
    """Gives every result once. For one thread at a time."""

    def __init__(self, owner: JobOwner, folder: JobFolder, job_id: str, filing: JobFiling) -> None:
        self._owner = owner
        self._folder = folder
        self._job_id = job_id
        self._filing = filing
        self._reader = ResultReader(folder)
        self._runner = owner.runner(job_id)

    def look(self) -> list[Result] | None:
        """The next results; an empty list where there are none yet, None at the end. Raises as `Job.__iter__` does."""
        runner = self._runner = self._owner.runner(self._job_id) or self._runner
        if runner is not None and runner.task.is_retry and not runner.is_over:
            return []
        standing = self._filing.standing(runner)  # before reading: what comes last must not be missed
        results = self._read()
        if not results and not self._reader.is_at_end and not self._folder.path.exists():
            raise self._gone()
        if results or not (self._reader.is_at_end or standing is Standing.IDLE):
            return results
        error = runner.error() if runner is not None else None
        if error is not None:
            raise error
        if not self._reader.is_at_end:
            logger.warning("job %s isn't done, and nobody runs it; its wait() goes on with it", self._job_id)
        return None

    def close(self) -> None:
        self._reader.close()

    def _read(self) -> list[Result]:
        try:
            return self._reader.read()
        except (OSError, InputError):
            if self._folder.path.exists():
                raise
        raise self._gone()

    def _gone(self) -> FleetClosed:
        return FleetClosed(f"job {self._job_id[:8]}: its results are gone, as its Fleet was closed or it was deleted")
