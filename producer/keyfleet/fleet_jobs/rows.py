"""What a caller's iterable gives, as lines of a job's input.

A line is a JSON object: `index` (from 0), `id`, and `body`, with `url` and `method` where the row had the form of
OpenAI's Batch lines; or `error` (code, message, field) instead of a body, for what can't be written as JSON. Everything
else is checked when the line is parsed, as the lines of a file are.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from keyfleet.batch.json_text import NotJSON, value_of
from keyfleet.errors import InvalidRequest

__all__ = ["RowId", "RowWriter"]

RowId: TypeAlias = "Callable[[Any], object] | str | None"
"""How a caller names requests: a function of the body, the name of a field of the row, or None for the index."""

_BATCH_FIELDS = ("method", "url")
_BATCH_MARKS = frozenset({"custom_id", *_BATCH_FIELDS})


class RowWriter:
    """Writes rows as lines, counting them. For one thread."""

    def __init__(self, row_id: RowId = None) -> None:
        self._row_id = row_id
        self.count = 0

    def line(self, row: object) -> bytes:
        """The line of the next row; empty for a blank line of a file, which is none. Raises nothing of the row's."""
        if isinstance(row, str | bytes) and not row.strip():
            return b""
        index, self.count = self.count, self.count + 1
        name = str(index)
        try:
            fields, parts = _parts_safely(row)
            name = self._name(index, fields, parts["body"])
            return _line({"index": index, "id": name, **parts})
        except InvalidRequest as error:
            refusal = {"code": error.code, "message": str(error), "field": error.field}
            return _line({"index": index, "id": name, "error": refusal})

    def _name(self, index: int, fields: Mapping[Any, Any], body: Any) -> str:
        wanted = self._row_id
        if wanted is None:
            return str(fields["custom_id"]) if fields is not body and "custom_id" in fields else str(index)
        if callable(wanted):
            return _called(wanted, body)
        for source in (fields, body):
            if source.get(wanted) is not None:
                return str(source[wanted])
        raise InvalidRequest(f"`{wanted}` is missing, which is to be the id", code="missing_id", field=wanted)


def _called(function: Callable[[Any], object], body: Any) -> str:
    try:
        name = function(body)
    except Exception as error:
        raise InvalidRequest(
            f"its id can't be told: the function given as id raised {type(error).__name__}",
            code="missing_id",
            field="id",
        ) from error
    return str(name)


def _parts_safely(row: object) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    """As `_parts`; a mapping of the caller's own that raises anything is that row's matter."""
    try:
        return _parts(row)
    except InvalidRequest:
        raise
    except Exception as error:
        raise InvalidRequest(f"can't be read: it raised {type(error).__name__}", code="invalid_row") from error


def _parts(row: object) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    """The row as a mapping, and what of it goes into the line. Raises InvalidRequest."""
    fields = _mapping(row)
    body = fields.get("body")
    if not isinstance(body, Mapping) or not _BATCH_MARKS.intersection(fields):
        return fields, {"body": dict(fields)}
    given = {name: fields[name] for name in _BATCH_FIELDS if fields.get(name) is not None}
    return fields, {**given, "body": dict(body)}


def _mapping(row: object) -> Mapping[Any, Any]:
    if isinstance(row, str | bytes):
        row = _parsed(row)
    if isinstance(row, Mapping):
        return row
    raise InvalidRequest(
        f"is of type {type(row).__name__}; expected a mapping (the request's body, or a line of OpenAI's Batch format)",
        code="invalid_row",
    )


def _parsed(text: str | bytes) -> Any:
    try:
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return value_of(raw.removeprefix(codecs.BOM_UTF8))
    except NotJSON as error:
        raise InvalidRequest(
            f"is no JSON: {error}; expected one JSON object (of a DataFrame's rows: to_dict('records'))",
            code="invalid_json",
        ) from None


def _line(line: dict[str, Any]) -> bytes:
    """The line as JSON. Raises InvalidRequest that names the first field of the body that can't be written."""
    try:
        return _dumped(line)
    except (TypeError, ValueError, RecursionError):
        wrong = next((name for name, value in line["body"].items() if not _is_json({name: value})), None)
    what = f"`{wrong}`" if isinstance(wrong, str) else "the body"
    raise InvalidRequest(
        f"{what} can't be written as JSON: it holds {_culprit(line['body'])}; "
        "expected texts, numbers, true, false, None, and lists and dicts of them",
        code="invalid_json",
        field=wrong if isinstance(wrong, str) else None,
    )


def _culprit(value: Any) -> str:
    """The type of the first thing in it that is no JSON, or the number that is none."""
    parts = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list | tuple) else []
    wrong = next((part for part in parts if not _is_json(part)), None)
    if wrong is not None:
        return _culprit(wrong)
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"


def _is_json(value: Any) -> bool:
    try:
        _dumped(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _dumped(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"
