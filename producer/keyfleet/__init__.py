"""Keyfleet drives LLM requests through all the API keys a team has, at the full rate their limits allow."""

from keyfleet.contract import AttemptError, Outcome, Request
from keyfleet.errors import (
    BrokerUnavailable,
    ConfigurationError,
    InputError,
    InvalidRequest,
    KeyfleetError,
    KeysFileError,
    RequestTooLarge,
)
from keyfleet.version import __version__

__all__ = [
    "AttemptError",
    "BrokerUnavailable",
    "ConfigurationError",
    "InputError",
    "InvalidRequest",
    "KeyfleetError",
    "KeysFileError",
    "Outcome",
    "Request",
    "RequestTooLarge",
    "__version__",
]
