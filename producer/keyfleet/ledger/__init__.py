"""The ledger: the record in Redis of every request that has no collected outcome yet."""

from keyfleet.ledger.codec import JobOptions, Taken
from keyfleet.ledger.jobs import JobLedger
from keyfleet.ledger.queues import model_of, queue_of
from keyfleet.ledger.transitions import Beat, Finish, Reaped, Retry, Transitions

__all__ = [
    "Beat",
    "Finish",
    "JobLedger",
    "JobOptions",
    "Reaped",
    "Retry",
    "Taken",
    "Transitions",
    "model_of",
    "queue_of",
]
