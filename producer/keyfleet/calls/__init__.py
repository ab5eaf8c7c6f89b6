"""Interactive calls: requests whose caller waits for the answer, through the same ledger as jobs."""

from keyfleet.calls.answer import Answer, Priority, check_attempts, check_priority, is_duration
from keyfleet.calls.desk import CallDesk
from keyfleet.calls.streamed import StreamedAnswer

__all__ = ["Answer", "CallDesk", "Priority", "StreamedAnswer", "check_attempts", "check_priority", "is_duration"]
