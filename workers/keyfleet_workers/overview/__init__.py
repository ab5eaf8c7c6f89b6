"""How a fleet stands as a whole: its keys, its queues and why they wait, its jobs. It takes no secret and no prompt."""

from keyfleet_workers.overview.actions import KeyActions, KeyNotKnown
from keyfleet_workers.overview.document import overview_document
from keyfleet_workers.overview.jobs import JobOverview
from keyfleet_workers.overview.keys import KeyOverview, QuotaOverview
from keyfleet_workers.overview.queues import QueueOverview
from keyfleet_workers.overview.reading import Overview, read_overview

__all__ = [
    "JobOverview",
    "KeyActions",
    "KeyNotKnown",
    "KeyOverview",
    "Overview",
    "QueueOverview",
    "QuotaOverview",
    "overview_document",
    "read_overview",
]
