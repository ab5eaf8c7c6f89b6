"""Rows of the output: the cookbook's lists for bare bodies, OpenAI's objects for Batch lines, and whole outcomes.

Answers are put in as the text that came from the provider, in one line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keyfleet.batch.json_text import NotJSON, decode_object, join_members, members_of, one_line, string, value_of
from keyfleet.batch.lines import InputLine
from keyfleet.batch.whole_rows import whole_row_text
from keyfleet.contract import AttemptError, Outcome
from keyfleet.errors import InvalidRequest

__all__ = ["Row", "bare_row", "batch_row", "blank_row", "invalid_outcome", "row_maker", "whole_row"]

RowMaker = Callable[[Outcome], "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """What is written for one line of the input: `data` ends with a line break, or is empty for a skipped line.

    `reason` tells why the line failed.
    """

    line_number: int
    failed: bool
    data: bytes = field(repr=False)
    reason: str = ""


def row_maker(line_format: str, job_id: str) -> RowMaker:
    """The row function of a format. `job_id` goes into the ids of Batch rows: the same on every resume."""
    if line_format == "batch":
        return lambda outcome: batch_row(outcome, job_id)
    return whole_row if line_format == "fleet" else bare_row


def whole_row(outcome: Outcome) -> Row:
    """All that is known of an outcome (`whole_rows`)."""
    return Row(int(outcome.id), not outcome.ok, whole_row_text(outcome), outcome.failure_reason)


def blank_row(line_number: int) -> Row:
    """Stands for a blank line: nothing is written, but an ordered output knows that it need not wait for it."""
    return Row(line_number, False, b"")


def bare_row(outcome: Outcome) -> Row:
    """`[request, response]`, or `[request, [errors…]]` for a failure; the third element is `metadata`, if there is any.

    As in OpenAI's cookbook (`api_request_parallel_processor.py`): the request stands there without its metadata, and
    errors are strings, one per attempt. An error document of the provider's is its JSON text, everything else reads
    `HTTP 500 code: message`. Unlike there, metadata such as `0` or `{}` is kept too.
    """
    parts = [_request_text(outcome), _answer(outcome) if outcome.ok else _error_texts(outcome)]
    if outcome.context.get("metadata") is not None:
        parts.append(_dumps(outcome.context["metadata"]))
    return Row(int(outcome.id), not outcome.ok, b"[" + b", ".join(parts) + b"]\n", outcome.failure_reason)


def batch_row(outcome: Outcome, job_id: str) -> Row:
    """OpenAI's Batch output object; a failure of the same form goes to the errors file.

    As OpenAI has it: an answer of the provider's, also an error, fills `response` and leaves `error` null; without
    one `response` is null and `error` holds code and message.
    """
    answered = outcome.ok or (outcome.status is not None and outcome.status >= 400)
    response, error = b"null", b"null"
    if answered:
        head = {"status_code": outcome.status or 200, "request_id": outcome.request_id or ""}
        body = _answer(outcome) if outcome.ok else _error_document(outcome)
        response = _dumps(head)[:-1] + b', "body": ' + body + b"}"
    else:
        error = _dumps(_code_and_message(outcome))
    head = {"id": _batch_id(job_id, outcome.id), "custom_id": outcome.context.get("custom_id")}
    data = _dumps(head)[:-1] + b', "response": ' + response + b', "error": ' + error + b"}\n"
    return Row(int(outcome.id), not outcome.ok, data, outcome.failure_reason)


def invalid_outcome(line: InputLine, error: InvalidRequest, *, finished_s: float = 0.0) -> Outcome:
    """The outcome of a line that was never sent; in its bare row a line that is no JSON object stands as it was."""
    attempt = AttemptError(None, error.code, str(error), at_s=finished_s)
    request, context = _as_it_stood(line)
    return Outcome(
        id=str(line.number),
        ok=False,
        status=None,
        body=None,
        attempts=0,
        errors=(attempt,),
        finished_s=finished_s,
        context=context,
        request_body=request,
    )


def _as_it_stood(line: InputLine) -> tuple[bytes, dict[str, Any]]:
    """The line as JSON without metadata, or as a JSON string; and custom_id and metadata where they can be told."""
    members = None
    try:
        if not line.oversized:
            members = members_of(line.raw)
            if members is None:
                value_of(line.raw)
                return line.raw.strip(), {}
    except NotJSON:
        pass
    if members is None:
        return string(line.raw.decode("utf-8", "replace")), {}
    fields = decode_object(members)
    context = {key: fields[key] for key in ("custom_id", "metadata") if fields.get(key) is not None}
    if not isinstance(context.get("custom_id", ""), str):
        del context["custom_id"]
    return join_members(members, without="metadata"), context


def _request_text(outcome: Outcome) -> bytes:
    """The request without its metadata, which is there if `store` had it sent."""
    request = outcome.request_body
    if request is None:
        return b"null"
    if "metadata" in outcome.context and b'"metadata"' in request:
        try:
            members = members_of(request)
        except NotJSON:
            members = None
        if members is not None:
            request = join_members(members, without="metadata")
    return one_line(request) or string(request.decode("utf-8", "replace"))


def _answer(outcome: Outcome) -> bytes:
    """A body that is no JSON becomes a string, so that the row stays readable and nothing paid for is lost."""
    body = outcome.body or b""
    return one_line(body) or string(body.decode("utf-8", "replace"))


def _error_texts(outcome: Outcome) -> bytes:
    texts = [_describe(error) for error in outcome.errors] or ["failed without a reason given"]
    document = one_line(outcome.body) if outcome.body else None
    if document is not None:
        texts[-1] = document.decode("utf-8")
    return _dumps(texts)


def _describe(error: AttemptError) -> str:
    status = "" if error.status is None else f"HTTP {error.status} "
    return f"{status}{error.code}: {error.message}"


def _error_document(outcome: Outcome) -> bytes:
    document = one_line(outcome.body) if outcome.body else None
    if document is not None and document.startswith(b"{"):
        return document
    error = _code_and_message(outcome)
    return _dumps({"error": {"message": error["message"], "type": None, "param": None, "code": error["code"]}})


def _code_and_message(outcome: Outcome) -> dict[str, str]:
    if not outcome.errors:
        return {"code": "failed", "message": "failed without a reason given"}
    return {"code": outcome.errors[-1].code, "message": outcome.errors[-1].message}


def _batch_id(job_id: str, line_id: str) -> str:
    return "batch_req_" + hashlib.blake2b(f"{job_id}:{line_id}".encode(), digest_size=16).hexdigest()


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")
