"""`keyfleet run`: a file of requests through the fleet, each with one outcome in the output."""

from keyfleet.running.options import RunOptions
from keyfleet.running.session import RunSession

__all__ = ["RunOptions", "RunSession"]
