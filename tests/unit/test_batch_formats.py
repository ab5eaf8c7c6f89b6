"""Rows of the two output formats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from keyfleet.batch.formats import bare_row, batch_row, blank_row, invalid_outcome, row_maker
from keyfleet.batch.lines import InputLine
from keyfleet.batch.parse import LineParser
from keyfleet.contract import AttemptError, Outcome
from keyfleet.errors import InvalidRequest

OK = Outcome("7", True, 200, b'{"a": 1e400}', 1, request_id="req_1", request_body=b'{"model": "m"}')
TIMEOUT = AttemptError(None, "timeout", "no answer within 600 s")
FAILED = Outcome("7", False, 400, b'{"error": {"code": "bad"}}', 2, errors=(TIMEOUT, AttemptError(400, "bad", "no")))


def shown(data: bytes) -> Any:
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    return json.loads(data)


def test_a_bare_success_is_request_and_response_as_they_came() -> None:
    row = bare_row(OK)
    assert (row.line_number, row.failed, row.data) == (7, False, b'[{"model": "m"}, {"a": 1e400}]\n')


@pytest.mark.parametrize("metadata", [{"row": 1}, 0, {}, "", False])
def test_metadata_is_the_third_element(metadata: Any) -> None:
    assert shown(bare_row(replace(OK, context={"metadata": metadata})).data)[2] == metadata


def test_metadata_that_was_sent_stands_only_in_the_third_element() -> None:
    sent = b'{"model": "m", "metadata": {"k": "v"}, "store": true}'
    row = shown(bare_row(replace(OK, request_body=sent, context={"metadata": {"k": "v"}}, body=b"{}")).data)
    assert row == [{"model": "m", "store": True}, {}, {"k": "v"}]


def test_a_pretty_printed_answer_becomes_one_line() -> None:
    body = json.dumps({"text": "two\nlines", "list": [1, 2]}, indent=2).encode()
    assert shown(bare_row(replace(OK, body=body)).data)[1] == {"text": "two\nlines", "list": [1, 2]}


@pytest.mark.parametrize("body", [b"<html>", b'{"a": "\n"}', b"\xff", b"", b"[" * 100_000])
def test_an_answer_that_is_no_json_is_kept_as_a_string(body: bytes) -> None:
    assert shown(bare_row(replace(OK, body=body)).data)[1] == body.decode("utf-8", "replace")


def test_a_bare_failure_has_a_string_for_each_attempt() -> None:
    row = bare_row(replace(FAILED, request_body=b"{}", context={"metadata": 5}))
    request, errors, metadata = shown(row.data)
    assert (row.failed, request, metadata) == (True, {}, 5)
    assert errors[0] == "timeout: no answer within 600 s"
    assert json.loads(errors[1]) == {"error": {"code": "bad"}}


def test_a_batch_success_is_the_object_of_openai() -> None:
    row = batch_row(replace(OK, body=b"{}", context={"custom_id": "a"}), "job")
    found = shown(row.data)
    assert list(found) == ["id", "custom_id", "response", "error"]
    assert found["id"].startswith("batch_req_")
    assert found["custom_id"] == "a"
    assert found["response"] == {"status_code": 200, "request_id": "req_1", "body": {}}
    assert found["error"] is None


def test_the_id_of_a_batch_row_depends_on_job_and_line_only() -> None:
    ids = [
        shown(batch_row(outcome, job).data)["id"] for outcome in (OK, replace(OK, id="8")) for job in ("x", "y", "x")
    ]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 4


def test_an_error_of_the_providers_fills_the_response() -> None:
    row = batch_row(FAILED, "job")
    assert row.failed
    assert shown(row.data)["response"] == {"status_code": 400, "request_id": "", "body": {"error": {"code": "bad"}}}
    assert shown(row.data)["error"] is None


def test_an_error_status_without_a_document_gets_one() -> None:
    body = shown(batch_row(replace(FAILED, status=502, body=b"<html>"), "job").data)["response"]["body"]
    assert body == {"error": {"message": "no", "type": None, "param": None, "code": "bad"}}


@pytest.mark.parametrize("status", [None, 200])
def test_a_failure_without_an_answer_has_code_and_message(status: int | None) -> None:
    found = shown(batch_row(replace(FAILED, status=status, body=None, errors=(TIMEOUT,)), "job").data)
    assert (found["response"], found["error"]) == (None, {"code": "timeout", "message": "no answer within 600 s"})


def invalid(text: str, line_format: Any = "bare") -> Outcome:
    parser = LineParser(line_format)
    line = InputLine(3, 0, len(text), text.encode())
    with pytest.raises(InvalidRequest) as caught:
        parser.parse(line)
    parser.close()
    return invalid_outcome(line, caught.value)


def test_a_line_that_is_no_json_stands_there_as_a_string() -> None:
    row = bare_row(invalid("hello “there”"))
    assert (row.line_number, row.failed) == (3, True)
    request, errors = shown(row.data)
    assert request == "hello “there”"
    assert errors == [
        "invalid_json: line 3 is no JSON: expecting value (character 1 of the line); expected one JSON object"
    ]


@pytest.mark.parametrize(
    ("text", "request_element"),
    [("[1]", [1]), ('{"input": "x", "metadata": {"r": 1}}', {"input": "x"}), ('{"a": NaN}', '{"a": NaN}')],
)
def test_a_line_that_is_json_stands_there_as_json(text: str, request_element: Any) -> None:
    row = shown(bare_row(invalid(text)).data)
    assert row[0] == request_element
    assert row[2:] == ([{"r": 1}] if "metadata" in text else [])


def test_an_invalid_batch_line_keeps_its_custom_id() -> None:
    found = shown(batch_row(invalid('{"custom_id": "a", "body": 3}', "batch"), "job").data)
    assert (found["custom_id"], found["response"], found["error"]["code"]) == ("a", None, "missing_body")
    assert shown(batch_row(invalid('{"custom_id": 5, "body": {}}', "batch"), "job").data)["custom_id"] is None


def test_an_oversized_line_stands_there_with_its_head() -> None:
    line = InputLine(3, 0, 10**9, b'{"model": "', oversized=True)
    outcome = invalid_outcome(line, InvalidRequest("line 3 is longer", code="line_too_long"))
    assert shown(bare_row(outcome).data)[0] == '{"model": "'


def test_the_row_maker_knows_the_formats() -> None:
    assert row_maker("bare", "job")(OK) == bare_row(OK)
    assert row_maker("batch", "job")(OK) == batch_row(OK, "job")
    assert blank_row(4).data == b""
