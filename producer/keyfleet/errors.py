"""Everything Keyfleet raises.

KeyfleetError
├── ConfigurationError          a setting, option or keys file is wrong (exit code 2)
│   └── KeysFileError           names the file and, where known, the line and field
├── InputError                  the input or output file can't be used (exit code 2)
│   ├── InvalidRequest          one request is wrong: names its line and what is expected
│   └── DiskFull                an output's disk is full; writing may be tried again
├── BrokerUnavailable           no Redis-compatible server answers at the broker's address
├── FleetClosed                 the fleet was closed, so it takes and finishes nothing more
├── JobStopped                  a job can't go on for now; what is done stands
├── JobNotFound                 no job, or more than one, is meant by what names it (exit code 2)
├── MalformedEntry              an entry of the ledger, or a ticket, can't be read: malformed, or of a later version
└── RequestFailed               a request ended without a response; `status` and `code` say why
    ├── ProviderError           the provider's final answer is an error
    ├── RequestTooLarge         it costs more than any limit allows in a whole window
    ├── NoKeyServes             no key serves its model
    ├── DeadlineExceeded        it could not be answered in time
    ├── StreamBroken            its answer ended in its midst
    └── JobCancelled            its job was cancelled
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyfleet.contract import STREAM_BROKEN

if TYPE_CHECKING:
    from keyfleet.contract import AttemptError

__all__ = [
    "BrokerUnavailable",
    "ConfigurationError",
    "DeadlineExceeded",
    "DiskFull",
    "FleetClosed",
    "InputError",
    "InvalidRequest",
    "JobCancelled",
    "JobNotFound",
    "JobStopped",
    "KeyfleetError",
    "KeysFileError",
    "MalformedEntry",
    "NoKeyServes",
    "ProviderError",
    "RequestFailed",
    "RequestTooLarge",
    "StreamBroken",
]


class KeyfleetError(Exception):
    """Base of all errors of Keyfleet. They can be pickled, so that they come back from other processes whole."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


class ConfigurationError(KeyfleetError):
    """A setting, option or file of the configuration can't be used; the message names it, never its value."""

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class KeysFileError(ConfigurationError):
    """A keys file can't be used. `line_number` counts from 1 and is None where the whole file is meant."""

    def __init__(self, message: str, *, path: Path, line_number: int | None = None) -> None:
        where = f"{path}, line {line_number}" if line_number else str(path)
        super().__init__(f"{where}: {message}")
        self.path = path
        self.line_number = line_number


class InputError(KeyfleetError):
    """The input or the output can't be used as a whole."""


class InvalidRequest(InputError):
    """One request can't be sent. `code` is a short stable word for scripts; `field` names what is wrong.

    `status` is that of all errors which end a request: None, as no provider has answered it.
    """

    status: int | None = None

    def __init__(self, message: str, *, code: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class DiskFull(InputError):
    """No room for results where they go. What was written before stands, and the same may be written again."""


class BrokerUnavailable(KeyfleetError):
    """No usable Redis-compatible server answers at the broker's address (which is shown without its password)."""


class MalformedEntry(KeyfleetError):
    """Something in the broker is not as Keyfleet writes it. The message names the field, and shows nothing of it.

    `is_later` tells that it may well be sound, of a later version of the contract.
    """

    def __init__(self, message: str, *, is_later: bool = False) -> None:
        super().__init__(message)
        self.is_later = is_later


class FleetClosed(KeyfleetError):
    """The fleet was closed. What it had not sent by then was dropped, unpaid; `was_sent`: this call may have been."""

    def __init__(self, message: str, *, was_sent: bool = False) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class JobStopped(KeyfleetError):
    """A job can't go on for now, for `reason`. What is done stands, and waiting for the job again goes on with it."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class JobNotFound(KeyfleetError):
    """What was given as a job names none that the server knows, or several."""


class RequestFailed(KeyfleetError):
    """A request ended without a response: its answers were lost on the way, time and again, or it was never sent.

    `code` is a short stable word. `status` is the HTTP status of the provider's final answer, None where there is none.
    `attempts` counts the calls that were paid for or may have been, and `errors` has every one that failed.
    """

    code = "failed"
    status: int | None = None

    def __init__(
        self, message: str, *, code: str = "", attempts: int = 0, errors: tuple[AttemptError, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.attempts = attempts
        self.errors = errors


class ProviderError(RequestFailed):
    """The provider's final answer is an error. `body` is its document, parsed where it is JSON (else its text)."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: Any,
        code: str = "",
        attempts: int = 1,
        errors: tuple[AttemptError, ...] = (),
        key_name: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, attempts=attempts, errors=errors)
        self.status = status
        self.body = body
        self.key_name = key_name
        self.request_id = request_id


class RequestTooLarge(RequestFailed):
    """A request costs more than any limit allows in a whole window, so it could wait for ever."""

    code = "request_too_large"


class NoKeyServes(RequestFailed):
    """No configured or running key serves the model. `served` are the models, or patterns of them, that are served."""

    code = "model_not_served"

    def __init__(self, message: str, *, model: str = "", served: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(message, **more)
        self.model = model
        self.served = served


class DeadlineExceeded(RequestFailed):
    """A request was not answered in time. `was_sent` False: it was not started, and nothing was paid for it."""

    code = "deadline_exceeded"

    def __init__(self, message: str, *, was_sent: bool = False, **more: Any) -> None:
        super().__init__(message, **more)
        self.was_sent = was_sent


class StreamBroken(RequestFailed):
    """An answer that came in pieces ended in its midst. It isn't asked for again: what has come of it was paid for."""

    code = STREAM_BROKEN


class JobCancelled(RequestFailed):
    """The job was cancelled, so nothing more of it is accepted, and what had not been sent never will be."""

    code = "job_cancelled"


def _again(kind: type[KeyfleetError], arguments: tuple[Any, ...], fields: dict[str, Any]) -> KeyfleetError:
    """The error with these fields; its constructor may want arguments that `args` doesn't hold."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(fields)
    return error
