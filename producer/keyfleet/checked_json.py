"""Reading JSON that lay where others could write: every field is checked, so that nothing malformed goes further."""

from __future__ import annotations

import json
from typing import Any

from keyfleet.errors import MalformedEntry

__all__ = ["CONTRACT_VERSION", "NEWEST_VERSION", "STREAMS_VERSION", "Fields", "is_count", "is_number", "parse_json"]

CONTRACT_VERSION = 1
"""Version of what producers and workers agree on. What says none is of version 1."""

STREAMS_VERSION = 2
"""Version of requests whose answers come in pieces: whoever doesn't know of them would pay for answers that it can't
read. All else is still written as of the version before, for workers and producers that are not yet updated."""

NEWEST_VERSION = STREAMS_VERSION


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text. Raises MalformedEntry, also where it is nested too deeply or no text at all."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # bytes that are no text, and numbers of too many digits, are ValueErrors
        pass
    raise MalformedEntry("expected JSON")  # outside of the handler, since the error's context holds the text


MOST = 2**53 - 1
"""The greatest number: up to it Lua and JSON's other readers are exact."""


def is_count(value: Any) -> bool:
    """Whether it is a whole number of 0 or more; true and false are none."""
    return type(value) is int and 0 <= value <= MOST


def is_number(value: Any) -> bool:
    """Whether it is a number of 0 or more; NaN and infinity are none."""
    return type(value) in (int, float) and 0 <= value <= MOST


class Fields:
    """The members of a JSON object; each method raises MalformedEntry that names the field and what is expected."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise MalformedEntry("expected a JSON object")
        self._members = value

    @classmethod
    def of_text(cls, text: bytes | str) -> Fields:
        """The members of the object that `text` holds."""
        return cls(parse_json(text))

    def check_version(self, name: str = "v") -> None:
        """Refuse what is of a later version of the contract than this code knows."""
        version = self._members.get(name, CONTRACT_VERSION)
        if not is_count(version) or not version:
            raise MalformedEntry(f"`{name}`: expected a version's number")
        if version > NEWEST_VERSION:
            raise MalformedEntry(
                f"it is of version {version} of the contract, and this Keyfleet knows version {NEWEST_VERSION}; "
                "upgrade it",
                is_later=True,
            )

    def get(self, name: str) -> Any:
        """The member as it is, None where there is none."""
        return self._members.get(name)

    def text(self, name: str) -> str:
        """A text."""
        value = self._members.get(name)
        if not isinstance(value, str):
            raise MalformedEntry(f"`{name}`: expected a text")
        return value

    def text_or_none(self, name: str) -> str | None:
        """A text, or nothing."""
        return None if self._members.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._members.get(name)
        if not isinstance(value, bool):
            raise MalformedEntry(f"`{name}`: expected true or false")
        return value

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number of 0 or more."""
        value: Any = self._members.get(name, default)
        if not is_count(value):
            raise MalformedEntry(f"`{name}`: expected a whole number of 0 or more")
        return int(value)

    def count_or_none(self, name: str) -> int | None:
        """A whole number of 0 or more, or nothing."""
        return None if self._members.get(name) is None else self.count(name)

    def number(self, name: str) -> float:
        """A number of 0 or more."""
        value: Any = self._members.get(name)
        if not is_number(value):
            raise MalformedEntry(f"`{name}`: expected a number of 0 or more")
        return float(value)

    def members(self, name: str) -> dict[str, Any]:
        """An object; an empty one where there is none."""
        value = self._members.get(name, {})
        if not isinstance(value, dict):
            raise MalformedEntry(f"`{name}`: expected an object")
        return value
