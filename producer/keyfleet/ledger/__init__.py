"""The ledger: the record in Redis of every request that has no collected outcome yet."""

from keyfleet.ledger.codec import JobOptions, Taken
from keyfleet.ledger.job_failures import FailureGroup, read_failures
from keyfleet.ledger.job_record import (
    Closing,
    JobFacts,
    JobRecord,
    JobState,
    JobTotals,
    ProducerWord,
    Withdrawal,
    Withdrawn,
)
from keyfleet.ledger.jobs import JobLedger
from keyfleet.ledger.queues import model_of, queue_of
from keyfleet.ledger.transitions import Beat, Finish, Reaped, Retry, Transitions

__all__ = [
    "Beat",
    "Closing",
    "FailureGroup",
    "Finish",
    "JobFacts",
    "JobLedger",
    "JobOptions",
    "JobRecord",
    "JobState",
    "JobTotals",
    "ProducerWord",
    "Reaped",
    "Retry",
    "Taken",
    "Transitions",
    "Withdrawal",
    "Withdrawn",
    "model_of",
    "queue_of",
    "read_failures",
]
