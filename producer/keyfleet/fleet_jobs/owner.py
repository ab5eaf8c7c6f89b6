"""What a Fleet does for its jobs."""

from __future__ import annotations

from typing import Protocol

from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.fleet_jobs.runner import JobRunner
from keyfleet.running.fleet_status import FleetStatus

__all__ = ["JobOwner"]


class JobOwner(Protocol):
    """The Fleet's part in its jobs."""

    def runner(self, job_id: str) -> JobRunner | None:
        """What runs the job in this process, or has run it."""
        ...

    def resume(self, folder: JobFolder) -> None:
        """Run a job that isn't done, unless somebody runs it. Raises InputError, ConfigurationError, FleetClosed."""
        ...

    def retry(self, folder: JobFolder, reasons: tuple[str, ...]) -> None:
        """Send failed requests of a done job again. Raises InputError, ConfigurationError and FleetClosed."""
        ...

    def cancel_elsewhere(self, spec: JobSpec) -> bool:
        """Have the process that runs a job cancel it, and take back what waits; False where the ledger doesn't know
        it. Raises BrokerUnavailable."""
        ...

    def forget(self, spec: JobSpec) -> None:
        """Take out of the ledger what it has of a job that nobody runs. Raises BrokerUnavailable."""
        ...

    def status(self) -> FleetStatus:
        """How the workers stand."""
        ...
