"""An answer taken apart as text: a list in it is cut into its items, and no number in them is written anew.

An answer with thousands of embeddings is tens of megabytes of numbers. Only where each value stands is found; reading
the numbers and writing them anew would take several times as long, and change how they are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

__all__ = ["Spans", "cut", "fields_and_rows", "object_text", "text_of"]

_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\n\r]*")
_FLAT_LIST = re.compile(r'\[[^][{}"]*]')
"""A list of numbers: finding its end so takes a tenth of the time that reading a thousand numbers does. What stands in
it was read when the answer was found to be JSON."""

Spans = dict[str, tuple[int, int]]
"""The members of an object: where in a text their values stand, by name."""


def text_of(document: bytes) -> str:
    """A JSON document's text, without the mark that some servers put before it. Raises ValueError."""
    return document.decode("utf-8-sig")


def fields_and_rows(text: str, listed: str) -> tuple[Spans, list[Spans]]:
    """The members of the object that `text` is, and of each of the objects in its member `listed`, which has an empty
    span in its place. Raises ValueError and LookupError.
    """
    rows: list[Spans] = []
    fields: Spans = {}
    at = _expect(text, _skip(text, 0), "{")
    while text[at] != "}":
        name, at = _name(text, at)
        if name == listed:
            rows, end = _rows(text, at)
            fields[name] = (0, 0)
        else:
            end = _DECODER.raw_decode(text, at)[1]
            fields[name] = (at, end)
        at = _next(text, end, "}")
    if listed not in fields:
        raise LookupError(listed)
    return fields, rows


def _rows(text: str, at: int) -> tuple[list[Spans], int]:
    rows: list[Spans] = []
    at = _expect(text, at, "[")
    while text[at] != "]":
        row: Spans = {}
        at = _expect(text, at, "{")
        while text[at] != "}":
            name, at = _name(text, at)
            flat = _FLAT_LIST.match(text, at)
            end = flat.end() if flat else _DECODER.raw_decode(text, at)[1]
            row[name] = (at, end)
            at = _next(text, end, "}")
        rows.append(row)
        at = _next(text, at + 1, "]")
    return rows, at + 1


def _name(text: str, at: int) -> tuple[str, int]:
    """The member's name that begins at `at`, and where its value begins."""
    name, end = _DECODER.raw_decode(text, at)
    return name, _expect(text, _skip(text, end), ":")


def _next(text: str, at: int, end: str) -> int:
    """Where the next member or item begins behind the value that ended at `at`, or where `end` stands."""
    at = _skip(text, at)
    return at if text[at] == end else _expect(text, at, ",")


def _expect(text: str, at: int, mark: str) -> int:
    if text[at] != mark:
        raise ValueError(f"expected {mark}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def cut(text: str, span: tuple[int, int]) -> str:
    """What stands at a span."""
    return text[span[0] : span[1]]


def object_text(fields: Mapping[str, str]) -> str:
    """The JSON object with these texts as its values."""
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in fields.items()) + "}"
