"""OpenAI's API as HTTP has it: from requests to calls of the fleet, and back from answers and errors."""

from keyfleet.api.reading import FleetCall, read_call
from keyfleet.api.replies import Refused, Reply, error_reply, reply_of, reply_to_error
from keyfleet.api.sse import error_event

__all__ = [
    "FleetCall",
    "Refused",
    "Reply",
    "error_event",
    "error_reply",
    "read_call",
    "reply_of",
    "reply_to_error",
]
