"""Reading the bodies of answers: the JSON document, and the error in it in any of the shapes that servers use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ErrorBody", "error_body", "holds_error", "is_html", "read_document"]

MAX_MESSAGE_CHARACTERS = 500
"""Longest part of an answer that goes into an error message."""

MAX_CODE_CHARACTERS = 100
"""Longest code of an error; real ones have less than half of it."""

SEARCHED_CHARACTERS = 8000
"""How much of an answer is searched for limits and waits. Gemini's, which stand behind its links, need 2,000."""

SIGNS_OF_A_RESULT = ("choices", "data", "output", "content", "results", "candidates")
"""Fields of which every good answer has one. An answer with one of these is kept, since it was paid for."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error as its answer tells it: `code` and `kind` (mostly the field `type`), empty where there are none.

    `detail` is a code that tells more than these two (Anthropic's `details.error_code`). `message` is one line, cut
    to a readable length; `text` is what else there is to be searched, never to be shown.
    """

    code: str = ""
    kind: str = ""
    detail: str = ""
    message: str = field(default="", repr=False)
    text: str = field(default="", repr=False)

    @property
    def names(self) -> frozenset[str]:
        """Code and type, which servers use interchangeably."""
        return frozenset({self.code, self.kind}) - {""}

    def code_or(self, otherwise: str) -> str:
        """The code to show: the type says more than a number that repeats the status."""
        if self.code.isdecimal() and self.kind:
            return self.kind
        return self.code or self.kind or otherwise


def read_document(body: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer. Of a list the only entry, as Gemini wraps its errors; None for anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    return document if isinstance(document, dict) else None


def is_html(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer that is no JSON is a page for people: a proxy's, a portal's, a firewall's."""
    if "html" in (headers.get("content-type") or "").lower():
        return True
    start = body[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml"))


def holds_error(document: Mapping[str, Any]) -> bool:
    """Whether an answer with a good status is an error nevertheless.

    OpenRouter answers 200 before it knows how the call ends
    (https://openrouter.ai/docs/api/reference/errors-and-debugging).
    """
    return bool(document.get("error")) and not any(document.get(name) for name in SIGNS_OF_A_RESULT)


def error_body(document: Mapping[str, Any] | None, body: bytes) -> ErrorBody:
    """The error in an answer.

    Its shapes: `{"error": {"code", "type", "message"}}` (OpenAI, Azure, Anthropic and most others), the same fields at
    the top (older vLLM, Mistral, DashScope), `{"code", "error": TEXT}` (xAI), `{"detail": TEXT}` (FastAPI), any text.
    """
    text = body[:SEARCHED_CHARACTERS].decode(errors="replace")
    if document is None:
        return ErrorBody(message=_one_line(text), text=text)
    error = document.get("error")
    fields = error if isinstance(error, dict) else document
    message = fields.get("message") or (error if isinstance(error, str) else "") or fields.get("detail") or ""
    code, kind = fields.get("code"), fields.get("type") or fields.get("status")  # the latter is Gemini's
    if not (message or code or kind):
        message = text if error is None else ""
    details = fields.get("details")
    detail = _name(details.get("error_code")) if isinstance(details, dict) else ""
    return ErrorBody(_name(code), _name(kind), detail, _one_line(_text(message)), _text(message) + "\n" + text)


def _name(value: object) -> str:
    """A code or a type, which may be a number; nothing else can be one."""
    is_one = isinstance(value, str | int) and not isinstance(value, bool)
    return _printable(str(value))[:MAX_CODE_CHARACTERS] if is_one else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    """Without line breaks and control characters, which would forge lines of a log."""
    return _printable(" ".join(text[: 4 * MAX_MESSAGE_CHARACTERS].split()))[:MAX_MESSAGE_CHARACTERS]


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(mark if mark.isprintable() else "?" for mark in text)
