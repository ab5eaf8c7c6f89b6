"""Everything Keyfleet raises.

KeyfleetError
├── ConfigurationError          a setting, option or keys file is wrong (exit code 2)
│   └── KeysFileError           names the file and, where known, the line and field
├── InputError                  the input or output file can't be used (exit code 2)
│   ├── InvalidRequest          one request is wrong: names its line and what is expected
│   └── DiskFull                an output's disk is full; writing may be tried again
├── BrokerUnavailable           no Redis-compatible server answers at the broker's address
├── JobCancelled                the job was cancelled, so nothing more of it is accepted
├── JobNotFound                 no job, or more than one, is meant by what names it (exit code 2)
├── MalformedEntry              an entry of the ledger, or a ticket, can't be read: malformed, or of a later version
└── RequestTooLarge             a request costs more than a limit allows in a whole window
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "BrokerUnavailable",
    "ConfigurationError",
    "DiskFull",
    "InputError",
    "InvalidRequest",
    "JobCancelled",
    "JobNotFound",
    "KeyfleetError",
    "KeysFileError",
    "MalformedEntry",
    "RequestTooLarge",
]


class KeyfleetError(Exception):
    """Base of all errors of Keyfleet."""


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
    """One request can't be sent. `code` is a short stable word for scripts; `field` names what is wrong."""

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


class JobCancelled(KeyfleetError):
    """The job was cancelled by somebody else, so the ledger accepts nothing more of it."""


class JobNotFound(KeyfleetError):
    """What was given as a job names none that the server knows, or several."""


class RequestTooLarge(KeyfleetError):
    """A request costs more than `limit` allows in a whole window, so it could wait forever.

    `cost` and `amount` are in the limit's own unit (requests or tokens).
    """

    def __init__(self, *, cost: int, amount: int, limit: str) -> None:
        super().__init__(f"the request costs {cost}, {cost - amount} more than the limit {limit} ever allows")
        self.cost = cost
        self.amount = amount
        self.limit = limit
