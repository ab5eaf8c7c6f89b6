"""What a caller in Python gets for an outcome: the response's document, or an error that says why there is none."""

from __future__ import annotations

import pickle

import pytest

from keyfleet.contract import AttemptError, Outcome
from keyfleet.errors import (
    DeadlineExceeded,
    InvalidRequest,
    JobCancelled,
    KeyfleetError,
    NoKeyServes,
    ProviderError,
    RequestFailed,
    RequestTooLarge,
)
from keyfleet.results import error_of, result_of


def failed(code: str, *, status: int | None = None, attempts: int = 0, body: bytes | None = None) -> Outcome:
    errors = (AttemptError(500, "server_error", "first"), AttemptError(status, code, "what it was"))
    return Outcome("7", False, status, body, attempts, errors, "one", "req_1", finished_s=12.5)


def test_a_response_is_its_document_with_all_that_is_known_of_it() -> None:
    error = AttemptError(500, "server_error", "first")
    outcome = Outcome("7", True, 200, b'{"a": 1}', 2, (error,), "one", "req_1", tokens=9, finished_s=12.5)
    found = result_of(outcome, request_id="mine", index=6)
    assert (found.id, found.index, found.ok, found.status, found.body) == ("mine", 6, True, 200, {"a": 1})
    assert (found.error, found.attempts, found.errors) == (None, 2, (error,))
    assert (found.key_name, found.request_id, found.tokens, found.finished_s) == ("one", "req_1", 9, 12.5)


def test_a_response_that_is_no_json_is_its_text() -> None:
    assert (
        result_of(Outcome("7", True, 200, b"plain \xff", 1), request_id="a", index=0).body
        == "plain \N{REPLACEMENT CHARACTER}"
    )


def test_a_providers_final_error_has_status_code_and_document() -> None:
    error = error_of(failed("invalid_value", status=400, attempts=2, body=b'{"error": {"code": "invalid_value"}}'))
    assert isinstance(error, ProviderError)
    assert (error.status, error.code, error.attempts, len(error.errors)) == (400, "invalid_value", 2, 2)
    assert (error.body, error.key_name, error.request_id) == ({"error": {"code": "invalid_value"}}, "one", "req_1")
    assert str(error) == "HTTP 400 invalid_value: what it was"


@pytest.mark.parametrize(
    ("outcome", "kind", "code"),
    [
        (failed("request_too_large"), RequestTooLarge, "request_too_large"),
        (failed("model_not_served"), NoKeyServes, "model_not_served"),
        (failed("deadline_exceeded"), DeadlineExceeded, "deadline_exceeded"),
        (failed("deadline_exceeded", attempts=1), DeadlineExceeded, "deadline_exceeded"),
        (failed("job_cancelled"), JobCancelled, "job_cancelled"),
        (failed("missing_model"), InvalidRequest, "missing_model"),
        (failed("timed_out", attempts=2), RequestFailed, "timed_out"),
        (failed("workers_lost", attempts=3), RequestFailed, "workers_lost"),
        (failed("malformed_entry"), RequestFailed, "malformed_entry"),
        (failed("malformed_outcome", attempts=1), RequestFailed, "malformed_outcome"),
        (Outcome("7", False, None, None, 0), InvalidRequest, "failed"),
    ],
)
def test_every_other_failure_is_of_the_kind_that_a_handler_looks_for(
    outcome: Outcome, kind: type[KeyfleetError], code: str
) -> None:
    error = error_of(outcome)
    assert type(error) is kind
    assert error is not None
    assert (error.code, error.status) == (code, None)


def test_an_answer_without_a_whole_body_is_no_answer_of_the_providers() -> None:
    error = error_of(failed("cut_off", status=200, attempts=1))
    assert type(error) is RequestFailed


def test_results_go_to_other_processes_with_their_errors() -> None:
    found = result_of(failed("rate", status=429, attempts=1, body=b"{}"), request_id="a", index=0)
    again = pickle.loads(pickle.dumps(found))
    assert (again.id, again.error.status, again.error.code) == ("a", 429, "rate")
