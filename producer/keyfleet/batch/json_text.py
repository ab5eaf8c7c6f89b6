"""JSON as text: taking an object apart without touching a number in it, and putting a document into one line.

What is sent and what is written is cut from the text that came, never parsed and written anew: so `1e400`, numbers of
thousands of digits and `0.10` stay as they were.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Member", "NotJSON", "decode_object", "join_members", "members_of", "one_line", "string", "value_of"]

EXACT_INTEGER_DIGITS = 4000
"""Python refuses to read longer integers; they are told to the program as floats (the text is sent as it is)."""

_BLANKS = re.compile(r"[ \t\n\r]*")
_LINE_BREAK = re.compile(rb"[\r\n][ \t\r\n]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJSON(ValueError):
    """The text is no JSON, or not such as can be sent; the message says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class Member:
    """One `"key": value` of an object: `text` as it stood, `members` of the value where these were asked for."""

    key: str
    value: Any
    text: str
    value_text: str
    members: tuple[Member, ...] = ()


def _no_constant(name: str) -> Any:
    raise NotJSON(f"{name} is no JSON number")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= EXACT_INTEGER_DIGITS else float(digits)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_LONG_INTEGER_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer)


def value_of(raw: bytes) -> Any:
    """The value of a whole JSON text in UTF-8. Raises NotJSON, never RecursionError."""
    text = _decoded(raw)
    try:
        return _read(text, 0, whole=True)[0]
    except RecursionError:
        raise NotJSON("nested too deeply") from None


def members_of(raw: bytes, *, inside: str | None = None) -> tuple[Member, ...] | None:
    """The members of a JSON object in UTF-8, duplicates too; None if the text is JSON but no object.

    `inside` names a key whose value, where it is an object, is taken apart as well. Raises NotJSON, also for half
    surrogate pairs (`"\\ud800"`), which no UTF-8 text can hold.
    """
    text = _decoded(raw)
    start = _skip(text, 0)
    try:
        if text[start : start + 1] != "{":
            _read(text, 0, whole=True)
            return None
        members, end = _members(text, start, inside)
        _expect_end(text, end)
        if _SURROGATE.search(text):
            _refuse_half_pairs([(member.key, member.value) for member in members])
    except RecursionError:
        raise NotJSON("nested too deeply") from None
    return members


def decode_object(members: tuple[Member, ...]) -> dict[str, Any]:
    """The object; of a key that stands there twice the last value counts, as `json.loads` has it."""
    return {member.key: member.value for member in members}


def join_members(members: tuple[Member, ...], *, without: str | None = None) -> bytes:
    """The object's JSON text, each member as it was written, one key left out, of doubled keys the last one kept."""
    last = {member.key: member.text for member in members if member.key != without}
    return ("{" + ", ".join(last.values()) + "}").encode()


def string(text: str) -> bytes:
    """Any text as a JSON string in ASCII."""
    return json.dumps(text).encode("ascii")


def one_line(document: bytes) -> bytes | None:
    """A provider's JSON document in one line, otherwise as it came; None if it is no JSON.

    A line break in valid JSON can only stand between values, so it goes, with the indentation behind it. `NaN`, which
    some servers write and Python reads, is let through: an answer that was paid for is kept.
    """
    document = document.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    try:
        text = document.decode("utf-8")
        json.loads(text)
    except RecursionError:
        return None
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError | json.JSONDecodeError) or not text:
            return None  # any other is an integer longer than Python likes to read
    return _LINE_BREAK.sub(b" ", document) if b"\n" in document or b"\r" in document else document


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJSON(f"not UTF-8 text (byte {error.start + 1} of the line)") from None


def _members(text: str, start: int, inside: str | None) -> tuple[tuple[Member, ...], int]:
    """Members of the object that begins at `start`, and where it ends."""
    found: list[Member] = []
    at = _skip(text, start + 1)
    if text[at : at + 1] == "}":
        return (), at + 1
    while True:
        if text[at : at + 1] != '"':
            raise NotJSON(f"expected a quoted field name (character {at + 1} of the line)")
        key, colon = _read(text, at)
        colon = _skip(text, colon)
        if text[colon : colon + 1] != ":":
            raise NotJSON(f"expected ':' (character {colon + 1} of the line)")
        value_start = _skip(text, colon + 1)
        member, end = _member(text, at, key, value_start, inside)
        found.append(member)
        mark = _skip(text, end)
        if text[mark : mark + 1] == "}":
            return tuple(found), mark + 1
        if text[mark : mark + 1] != ",":
            raise NotJSON(f"expected ',' or '}}' (character {mark + 1} of the line)")
        at = _skip(text, mark + 1)


def _member(text: str, at: int, key: str, value_start: int, inside: str | None) -> tuple[Member, int]:
    if key == inside and text[value_start : value_start + 1] == "{":
        members, end = _members(text, value_start, None)
        return Member(key, decode_object(members), text[at:end], text[value_start:end], members), end
    value, end = _read(text, value_start)
    return Member(key, value, text[at:end], text[value_start:end]), end


def _read(text: str, at: int, *, whole: bool = False) -> tuple[Any, int]:
    at = _skip(text, at)
    try:
        value, end = _raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise NotJSON(f"{error.msg[:1].lower()}{error.msg[1:]} (character {error.pos + 1} of the line)") from None
    if whole:
        _expect_end(text, end)
    return value, end


def _raw_decode(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (json.JSONDecodeError, NotJSON):
        raise
    except ValueError:
        return _LONG_INTEGER_DECODER.raw_decode(text, at)


def _skip(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _expect_end(text: str, at: int) -> None:
    at = _skip(text, at)
    if at != len(text):
        raise NotJSON(f"more text after the JSON value (character {at + 1} of the line)")


def _refuse_half_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise NotJSON("half of a surrogate pair, which is no character") from None
    except ValueError:
        return  # an integer too long for Python to write; strings were not the trouble
