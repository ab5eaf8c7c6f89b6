"""Jobs of Python programs: any number of requests, fed in the background, each with one result."""

from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.desk import FleetJobs, JobsFleet
from keyfleet.fleet_jobs.job import Job
from keyfleet.fleet_jobs.methods import JobMethods
from keyfleet.fleet_jobs.options import JobChoices

__all__ = ["FleetJobs", "Job", "JobChoices", "JobCounts", "JobMethods", "JobsFleet"]
