"""An answer taken apart as text: a list in it is cut into its items, and no number in them is written anew.

An answer with thousands of embeddings is tens of megabytes of numbers. They are read once, at the decoder's speed, to
find where each item ends; writing them anew would take several times as long, and change how they are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Field", "elements_at", "fields_at", "text_of", "value_at"]

Read = Callable[[str, int], tuple[Any, int]]
"""Reads the value that begins at a place of a text, and tells where it ends. Raises ValueError."""

_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\n\r]*")


class Field(NamedTuple):
    """One `"name": value` of an object. `text` is the value as it stood."""

    name: str
    value: Any
    text: str


def text_of(document: bytes) -> str:
    """A JSON document's text, without the mark that some servers put before it. Raises ValueError."""
    return document.decode("utf-8-sig")


def value_at(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. Raises ValueError."""
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def fields_at(text: str, at: int, readers: Mapping[str, Read]) -> tuple[list[Field], int]:
    """The fields of the object that begins at `at`, and where it ends; `readers` read the values of fields they name.

    Raises ValueError where there is no object.
    """
    at = _past(text, at, "{")
    fields: list[Field] = []
    if text[at : at + 1] == "}":
        return fields, at + 1
    while True:
        name, at = value_at(text, at)
        if not isinstance(name, str):
            raise ValueError("expected a field's name")
        start = _past(text, _blanks_end(text, at), ":")
        value, at = readers.get(name, value_at)(text, start)
        fields.append(Field(name, value, text[start:at]))
        at = _blanks_end(text, at)
        if text[at : at + 1] == "}":
            return fields, at + 1
        at = _past(text, at, ",")


def elements_at(text: str, at: int, read: Read) -> tuple[list[Any], int]:
    """What `read` makes of each element of the array that begins at `at`, and where it ends. Raises ValueError."""
    at = _past(text, at, "[")
    elements: list[Any] = []
    if text[at : at + 1] == "]":
        return elements, at + 1
    while True:
        element, at = read(text, at)
        elements.append(element)
        at = _blanks_end(text, at)
        if text[at : at + 1] == "]":
            return elements, at + 1
        at = _past(text, at, ",")


def _past(text: str, at: int, mark: str) -> int:
    """Where the next thing begins after `mark`, which must stand at `at`, or after blanks there."""
    at = _blanks_end(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"expected {mark!r}")
    return _blanks_end(text, at + 1)


def _blanks_end(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at
