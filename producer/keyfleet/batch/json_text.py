"""JSON as text: taking an object apart without touching a number in it, and putting a document into one line.

What is sent and what is written is cut from the text that came, never parsed and written anew: so `1e400`, numbers of
thousands of digits and `0.10` stay as they were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "Member",
    "NotJSON",
    "decode_object",
    "join_members",
    "likely_model",
    "members_of",
    "one_line",
    "string",
    "value_of",
]

T = TypeVar("T")

EXACT_INTEGER_DIGITS = 4000
"""Python refuses to read longer integers; they are told to the program as floats (the text is sent as it is)."""

_BLANKS = re.compile(r"[ \t\n\r]*")
_PLAIN_KEY = re.compile(r'[ \t\n\r]*("([^"\\\x00-\x1f]*)")[ \t\n\r]*:[ \t\n\r]*')
_AFTER_VALUE = re.compile(r"[ \t\n\r]*([,}])")
_LINE_BREAK = re.compile(rb"[\r\n][ \t\r\n]*")
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]+)"')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJSON(ValueError):
    """The text is no JSON, or not such as can be sent; the message says why, without quoting it."""


class Member(NamedTuple):
    """One `"key": value` of an object: `text` as it stood, `members` of the value where these were asked for."""

    key: str
    value: Any
    text: str
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
    return _explained(lambda decoder: _whole_value(text, decoder))


def members_of(raw: bytes, *, inside: str | None = None) -> tuple[Member, ...] | None:
    """The members of a JSON object in UTF-8, duplicates too; None if the text is JSON but no object.

    `inside` names a key whose value, where it is an object, is taken apart as well. Raises NotJSON, also for half
    surrogate pairs (`"\\ud800"`), which no UTF-8 text can hold.
    """
    text = _decoded(raw)
    return _explained(lambda decoder: _whole_members(text, inside, decoder))


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


def _explained(read: Callable[[json.JSONDecoder], T]) -> T:
    """Every way in which reading JSON fails, as NotJSON."""
    try:
        try:
            return read(_DECODER)
        except (json.JSONDecodeError, NotJSON):
            raise
        except ValueError:
            return read(_LONG_INTEGER_DECODER)
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg[:1].lower()}{error.msg[1:]}", error.pos) from None
    except RecursionError:
        raise NotJSON("nested too deeply") from None


def _whole_value(text: str, decoder: json.JSONDecoder) -> Any:
    value, end = decoder.raw_decode(text, _skip(text, 0))
    _expect_end(text, end)
    return value


def _whole_members(text: str, inside: str | None, decoder: json.JSONDecoder) -> tuple[Member, ...] | None:
    start = _skip(text, 0)
    if text[start : start + 1] != "{":
        _whole_value(text, decoder)
        return None
    members, end = _members(text, start, inside, decoder)
    _expect_end(text, end)
    if _SURROGATE.search(text):
        _refuse_half_pairs([(member.key, member.value) for member in members])
    return members


def _members(text: str, start: int, inside: str | None, decoder: json.JSONDecoder) -> tuple[tuple[Member, ...], int]:
    """Members of the object that begins at `start`, and where it ends."""
    at = _skip(text, start + 1)
    if text[at : at + 1] == "}":
        return (), at + 1
    found: list[Member] = []
    while True:
        plain = _PLAIN_KEY.match(text, at)
        if plain:
            key, at, value_start = plain[2], plain.start(1), plain.end()
        else:
            key, at, value_start = _odd_key(text, at, decoder)
        if key == inside and text[value_start : value_start + 1] == "{":
            members, end = _members(text, value_start, None, decoder)
            found.append(Member(key, decode_object(members), text[at:end], members))
        else:
            value, end = decoder.raw_decode(text, value_start)
            found.append(Member(key, value, text[at:end]))
        after = _AFTER_VALUE.match(text, end)
        if after is None:
            raise _not_json("expected ',' or '}'", _skip(text, end))
        at = after.end()
        if after[1] == "}":
            return tuple(found), at


def _odd_key(text: str, at: int, decoder: json.JSONDecoder) -> tuple[str, int, int]:
    """(key, where it begins, where its value begins) of a key with escapes in it; or what is wrong here."""
    at = _skip(text, at)
    if text[at : at + 1] != '"':
        raise _not_json("expected a quoted field name", at)
    key, end = decoder.raw_decode(text, at)
    end = _skip(text, end)
    if text[end : end + 1] != ":":
        raise _not_json("expected ':'", end)
    return key, at, _skip(text, end + 1)


def _skip(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _expect_end(text: str, at: int) -> None:
    at = _skip(text, at)
    if at != len(text):
        raise _not_json("more text after the JSON value", at)


def _not_json(what: str, at: int) -> NotJSON:
    return NotJSON(f"{what} (character {at + 1} of the line)")


def _refuse_half_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise NotJSON("half of a surrogate pair, which is no character") from None
    except ValueError:
        return  # an integer too long for Python to write; strings were not the trouble


def likely_model(text: bytes) -> str | None:
    """What the first member that looks like a request's model says, wherever it stands: a guess that parses nothing."""
    found = _MODEL.search(text)
    return None if found is None else found[1].decode(errors="replace")
