"""Keyfleet drives LLM requests through all the API keys a team has, at the full rate their limits allow."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from keyfleet.contract import AttemptError
from keyfleet.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    FleetClosed,
    InputError,
    InvalidRequest,
    JobCancelled,
    JobNotFound,
    JobStopped,
    KeyfleetError,
    KeysFileError,
    NoKeyServes,
    ProviderError,
    RequestFailed,
    RequestTooLarge,
    StreamBroken,
)
from keyfleet.version import __version__

if TYPE_CHECKING:
    from keyfleet.calls import Answer
    from keyfleet.fleet import Fleet
    from keyfleet.fleet_jobs import Job, JobCounts
    from keyfleet.results import Result

__all__ = [
    "Answer",
    "AttemptError",
    "BrokerUnavailable",
    "ConfigurationError",
    "DeadlineExceeded",
    "Fleet",
    "FleetClosed",
    "InputError",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobCounts",
    "JobNotFound",
    "JobStopped",
    "KeyfleetError",
    "KeysFileError",
    "NoKeyServes",
    "ProviderError",
    "RequestFailed",
    "RequestTooLarge",
    "Result",
    "StreamBroken",
    "__version__",
]

_LATE = {
    "Answer": "keyfleet.calls",
    "Fleet": "keyfleet.fleet",
    "Job": "keyfleet.fleet_jobs",
    "JobCounts": "keyfleet.fleet_jobs",
    "Result": "keyfleet.results",
}
"""Imported when they are first asked for: they bring Celery and redis, which the command line can do without."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_LATE[name]), name)
    globals()[name] = found
    return found
