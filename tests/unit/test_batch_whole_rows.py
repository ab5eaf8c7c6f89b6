"""Rows that hold whole outcomes, and the lines that jobs of Python programs are spooled as."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyfleet.batch.formats import row_maker
from keyfleet.batch.job import JobOptions, NothingToDo, new_job, open_job
from keyfleet.batch.lines import InputLine, open_input
from keyfleet.batch.parse import LineParser, ParsedLine, detect_format
from keyfleet.batch.retry_failed import RetryJob, open_retry
from keyfleet.batch.whole_rows import result_of_row
from keyfleet.contract import AttemptError, Outcome
from keyfleet.errors import DeadlineExceeded, InvalidRequest, ProviderError
from keyfleet.results import Result, result_of

SLOW = AttemptError(500, "server_error", "try again", "key-1", 10.5)
OK = Outcome("7", True, 200, b'{"a": [1, 2]}', 2, (SLOW,), "key-2", "req_1", 12, 99.5, context={"custom_id": "seven"})
REFUSED = replace(
    OK, ok=False, status=400, body=b'{"error": {"code": "bad"}}', errors=(AttemptError(400, "bad", "it is", "key-2"),)
)
BODY = {"model": "m", "input": "x"}


def read_back(outcome: Outcome) -> Result:
    row = row_maker("fleet", "job")(outcome)
    assert row.data.count(b"\n") == 1
    return result_of_row(row.data)


@pytest.mark.parametrize("body", [b'{"a": [1, 2]}', b'{\n "a": 1\n}', b"no json", b"null", None, b'"a\\nb"', b"\xff"])
def test_a_success_is_read_back_as_it_would_have_been_given_at_once(body: bytes | None) -> None:
    outcome = replace(OK, body=body)
    assert read_back(outcome) == result_of(outcome, request_id="seven", index=6)


def test_a_number_that_python_can_not_read_is_no_reason_to_lose_an_answer() -> None:
    assert read_back(replace(OK, body=b'{"a": ' + b"9" * 5000 + b"}")).body == {"a": float("inf")}


@pytest.mark.parametrize("body", [b'{"error": {"code": "bad"}}', b"<html>", None])
def test_a_failure_is_read_back_with_its_document(body: bytes | None) -> None:
    outcome = replace(REFUSED, body=body)
    found, given = read_back(outcome), result_of(outcome, request_id="seven", index=6)
    assert isinstance(found.error, ProviderError)
    assert isinstance(given.error, ProviderError)
    assert vars(found.error) == vars(given.error)
    assert replace(found, error=None) == replace(given, error=None)
    assert str(found.error) == str(given.error)


def test_an_error_of_keyfleets_own_is_read_back_as_that_very_error() -> None:
    late = Outcome("1", False, None, None, 0, (AttemptError(None, "deadline_exceeded", "too late"),))
    found = read_back(late)
    assert isinstance(found.error, DeadlineExceeded)
    assert (found.id, found.index, found.ok) == ("0", 0, False)


def test_a_row_is_an_object_that_other_programs_read() -> None:
    row = json.loads(row_maker("fleet", "job")(replace(OK, context={"custom_id": "s", "metadata": {"k": 1}})).data)
    assert (row["id"], row["index"], row["body"], row["metadata"]) == ("s", 6, {"a": [1, 2]}, {"k": 1})


def spooled(**fields: Any) -> bytes:
    return json.dumps({"index": 4, "id": "five", **fields}).encode()


def parse(raw: bytes, url: str | None = None) -> ParsedLine:
    parser = LineParser("fleet", url)
    try:
        return parser.parse(InputLine(5, 0, len(raw) + 1, raw))
    finally:
        parser.close()


def test_a_spooled_line_is_told_by_its_fields() -> None:
    assert detect_format(spooled(body=BODY)) == "fleet"
    assert detect_format(spooled(error={})) == "fleet"
    assert detect_format(spooled()) == "bare"


def test_a_spooled_line_has_its_id_and_its_own_endpoint_before_the_jobs() -> None:
    assert parse(spooled(body=BODY)).endpoint == "/v1/embeddings"
    assert parse(spooled(body=BODY), "/v1/moderations").endpoint == "/v1/moderations"
    found = parse(spooled(body=BODY, url="/v1/responses"), "/v1/moderations")
    assert (found.endpoint, found.custom_id, found.body) == ("/v1/responses", "five", BODY)


def test_two_spooled_lines_may_have_the_same_id() -> None:
    parser = LineParser("fleet")
    for number in (1, 2):
        parser.parse(InputLine(number, 0, 9, spooled(body=BODY)))
    parser.close()


def test_what_could_not_be_spooled_is_refused_with_its_reason() -> None:
    error = {"code": "invalid_json", "message": "`input` is no JSON", "field": "input"}
    with pytest.raises(InvalidRequest, match="`input` is no JSON") as caught:
        parse(spooled(error=error))
    assert (caught.value.code, caught.value.field) == ("invalid_json", "input")


def test_a_job_that_failed_in_parts_is_retried_in_its_own_format(tmp_path: Path) -> None:
    spool, output = tmp_path / "input.jsonl", tmp_path / "results.jsonl"
    spool.write_bytes(b"".join(spooled(body=BODY) + b"\n" for _ in range(2)))
    job = new_job(open_input(str(spool)), output, "fleet", "aa11", JobOptions(url="/v1/embeddings"))
    make = row_maker("fleet", "aa11")
    fed = open_to_end(str(spool))
    job.writer.write([make(replace(OK, id="1")), make(replace(REFUSED, id="2"))], fed)
    job.finish(fed)
    job.close()
    options = JobOptions(url="/v1/embeddings", format="fleet")
    assert isinstance(open_job(str(spool), output, options), NothingToDo)
    retry = open_retry(str(spool), output, options)
    assert isinstance(retry, RetryJob)
    retry.writer.write([make(replace(OK, id="2", body=b'"new"'))], fed)
    retry.finish(fed)
    retry.close()
    results = [result_of_row(row) for row in output.read_bytes().splitlines()]
    found = [(result.index, result.ok, result.body) for result in results]
    assert found == [(0, True, {"a": [1, 2]}), (1, True, "new")]


def open_to_end(name: str) -> Any:
    with open_input(name) as lines:
        for _ in lines:
            pass
        return lines.fingerprint_at()


def test_files_of_a_directory_that_is_its_owners_alone_are_as_well(tmp_path: Path) -> None:
    for mode, wanted in ((0o700, 0o600), (0o755, 0o644)):
        directory = tmp_path / str(mode)
        directory.mkdir()
        directory.chmod(mode)
        spool = directory / "input.jsonl"
        spool.touch()
        job = new_job(open_input(str(spool)), directory / "results.jsonl", "fleet", "aa11", JobOptions())
        job.close()
        found = {path.name: path.stat().st_mode & 0o777 for path in directory.glob("results*")}
        assert set(found) == {"results.jsonl", "results.jsonl.keyfleet"}
        assert all(mode & 0o077 == wanted & 0o077 for mode in found.values()), found
