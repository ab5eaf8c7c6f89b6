"""Jobs and workers as real processes, for tests that kill them."""

from support.fixtures import breakable_broker, broker, place, start_sim
from support.fleets import make_fleet
from support.job_fixtures import start_job

__all__ = ["breakable_broker", "broker", "make_fleet", "place", "start_job", "start_sim"]
