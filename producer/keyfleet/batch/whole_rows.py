"""Rows that hold a whole outcome, from which a `Result` is made again: the output of jobs that Python programs submit.

One JSON object a line: `index` (from 0), `id`, `ok`, `status`, `attempts`, `errors`, `key_name`, `request_id`,
`tokens`, `finished_s`, `metadata` where the request has any, and `body`, the provider's document.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from keyfleet.batch.json_text import one_line, string
from keyfleet.contract import AttemptError, Outcome
from keyfleet.results import Result, result_of

__all__ = ["result_of_row", "whole_row_text"]


def whole_row_text(outcome: Outcome) -> bytes:
    """The row of an outcome, with its line break. The body stands there as it came, a text that is no JSON as a
    string."""
    index = int(outcome.id) - 1
    head: dict[str, Any] = {
        "index": index,
        "id": outcome.context.get("custom_id", str(index)),
        "ok": outcome.ok,
        "status": outcome.status,
        "attempts": outcome.attempts,
        "errors": [asdict(error) for error in outcome.errors],
        "key_name": outcome.key_name,
        "request_id": outcome.request_id,
        "tokens": outcome.tokens,
        "finished_s": outcome.finished_s,
    }
    if outcome.context.get("metadata") is not None:
        head["metadata"] = outcome.context["metadata"]
    return json.dumps(head).encode("ascii")[:-1] + b', "body": ' + _body_text(outcome.body) + b"}\n"


def _body_text(body: bytes | None) -> bytes:
    if body is None:
        return b"null"
    return one_line(body) or string(body.decode("utf-8", "replace"))


def result_of_row(row: bytes) -> Result:
    """The result that a row tells. Raises ValueError, KeyError or TypeError for what is no such row."""
    fields = _document(row)
    ok, body = fields["ok"], fields["body"]
    outcome = Outcome(
        id=str(fields["index"] + 1),
        ok=ok,
        status=fields["status"],
        body=None if ok or body is None else json.dumps(body).encode(),
        attempts=fields["attempts"],
        errors=tuple(AttemptError(**error) for error in fields["errors"]),
        key_name=fields["key_name"],
        request_id=fields["request_id"],
        tokens=fields["tokens"],
        finished_s=fields["finished_s"],
    )
    result = result_of(outcome, request_id=fields["id"], index=fields["index"])
    return replace(result, body=body) if ok else result


def _document(row: bytes) -> Any:
    try:
        return json.loads(row)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer longer than Python likes to read
        return json.loads(row, parse_int=float)
