"""Jobs as a whole: listing, finding, cancelling and removing them, whoever runs them."""

from keyfleet.jobs.cancelling import Cancelled, cancel_job, withdraw_job
from keyfleet.jobs.finding import find_job
from keyfleet.jobs.fleets import fleets_with_jobs, forget_fleet, keys_fleet, run_fleet
from keyfleet.jobs.listing import ListedJob, OpenCounts, list_jobs, server_now_ms
from keyfleet.jobs.pausing import finish_resuming, pause_job, resume_job
from keyfleet.jobs.purging import Purged, forget_gone_callers, purge_abandoned, purge_abandoned_runs, purge_job

__all__ = [
    "Cancelled",
    "ListedJob",
    "OpenCounts",
    "Purged",
    "cancel_job",
    "find_job",
    "finish_resuming",
    "fleets_with_jobs",
    "forget_fleet",
    "forget_gone_callers",
    "keys_fleet",
    "list_jobs",
    "pause_job",
    "purge_abandoned",
    "purge_abandoned_runs",
    "purge_job",
    "resume_job",
    "run_fleet",
    "server_now_ms",
    "withdraw_job",
]
