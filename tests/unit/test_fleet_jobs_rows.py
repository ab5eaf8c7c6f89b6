"""What a caller's iterable gives, as lines of a job's input."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from keyfleet.errors import ConfigurationError, InvalidRequest
from keyfleet.fleet_jobs import JobChoices
from keyfleet.fleet_jobs.options import check_requests
from keyfleet.fleet_jobs.rows import RowWriter

BODY = {"model": "m", "input": "x"}


def written(row: object, row_id: Any = None) -> dict[str, Any]:
    writer = RowWriter(row_id)
    writer.line("first")
    line = writer.line(row)
    assert line.endswith(b"\n")
    found: dict[str, Any] = json.loads(line)
    assert found.pop("index") == 1
    return found


@pytest.mark.parametrize("row", [BODY, MappingProxyType(BODY), json.dumps(BODY), json.dumps(BODY).encode()])
def test_a_body_is_written_with_its_index_as_id(row: object) -> None:
    assert written(row) == {"id": "1", "body": BODY}


def test_a_line_of_the_batch_format_is_told_by_its_fields_and_has_its_own_id_and_url() -> None:
    row = {"custom_id": 7, "method": "POST", "url": "/v1/embeddings", "body": BODY}
    assert written(row) == {"id": "7", "method": "POST", "url": "/v1/embeddings", "body": BODY}
    assert written({"url": "/v1/embeddings", "body": BODY})["id"] == "1"
    assert "body" in written({"body": BODY})["body"]  # a body that has such a field


@pytest.mark.parametrize(
    ("row_id", "name"),
    [(lambda body: body["input"] * 2, "xx"), (lambda body: 5, "5"), ("input", "x"), ("custom_id", "c")],
)
def test_the_id_is_what_a_function_says_or_a_field_of_the_row_or_of_its_body(row_id: Any, name: str) -> None:
    assert written({"custom_id": "c", "url": "/v1/embeddings", "body": BODY}, row_id)["id"] == name


@pytest.mark.parametrize(
    ("row", "code", "words", "field"),
    [
        (3, "invalid_row", "is of type int; expected a mapping", None),
        (["a"], "invalid_row", "is of type list", None),
        ("[1]", "invalid_row", "is of type list", None),
        ("{", "invalid_json", "is no JSON", None),
        (b"\xff", "invalid_json", "is no JSON: not UTF-8", None),
        ({**BODY, "user": object()}, "invalid_json", "`user` can't be written as JSON", "user"),
        ({**BODY, "n": float("nan")}, "invalid_json", "`n` can't be written", "n"),
        ({(1, 2): "x"}, "invalid_json", "the body can't be written", None),
    ],
)
def test_a_bad_row_is_written_as_the_error_that_it_is(row: object, code: str, words: str, field: str | None) -> None:
    error = written(row)["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert words in error["message"]


def test_a_row_that_holds_itself_is_a_bad_row() -> None:
    row: dict[str, Any] = {**BODY}
    row["self"] = row
    assert written(row)["error"]["field"] == "self"


def test_an_id_that_can_not_be_told_is_an_error_of_that_row() -> None:
    assert written(BODY, lambda body: body["nothing"])["error"]["message"].endswith("raised KeyError")
    assert written(BODY, "user")["error"]["code"] == "missing_id"


def test_a_blank_line_of_a_file_is_no_row() -> None:
    writer = RowWriter()
    assert writer.line("  \n") == b""
    assert writer.line(b"\n") == b""
    assert json.loads(writer.line(BODY))["index"] == 0


@pytest.mark.parametrize(
    ("choices", "setting"),
    [
        (JobChoices(endpoint="https://api.openai.com/v1/embeddings"), "endpoint"),
        (JobChoices(endpoint="/v1/audio/speech"), "endpoint"),
        (JobChoices(endpoint=""), "endpoint"),
        (JobChoices(row_id=7), "id"),  # type: ignore[arg-type]
        (JobChoices(window=0), "window"),
        (JobChoices(window=True), "window"),
        (JobChoices(name=" "), "name"),
        (JobChoices(deadline=-1), "deadline"),
    ],
)
def test_an_argument_that_is_wrong_is_named_before_anything_begins(choices: JobChoices, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{setting}: ") as caught:
        choices.spec()
    assert caught.value.setting == setting


def test_a_priority_is_one_of_two() -> None:
    assert JobChoices(priority="urgent").spec().priority == "urgent"
    with pytest.raises(InvalidRequest, match="priority"):
        JobChoices(priority="high").spec()  # type: ignore[arg-type]


def test_an_endpoint_is_written_as_the_provider_has_it() -> None:
    assert JobChoices(endpoint="embeddings").spec().endpoint == "/v1/embeddings"


async def anything() -> Any:
    yield BODY


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BODY, "is one mapping"),
        (lambda: "rows.jsonl", "is a text"),
        (lambda: 7, "is of type int"),
        (anything, "asubmit and amap take asynchronous ones"),
    ],
)
def test_what_is_no_iterable_of_requests_is_said_so(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check_requests(make())


def test_asynchronous_iterables_are_taken_where_there_is_a_loop() -> None:
    check_requests(anything(), takes_async=True)
    check_requests(iter([BODY]))


class Raising(dict[str, Any]):
    """A mapping of the caller's own that can't be read."""

    def get(self, *names: Any) -> Any:
        raise LookupError("no such thing")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"model": "m", "prompt": float("nan")}, "`prompt` can't be written as JSON: it holds nan;"),
        ({"model": "m", "prompt": ["a", Decimal("1")]}, "`prompt` can't be written as JSON: it holds a Decimal;"),
        ("column", "of a DataFrame's rows: to_dict('records')"),
        (Raising(model="m"), "can't be read: it raised LookupError"),
    ],
)
def test_what_can_not_be_sent_is_told_by_what_it_holds(row: object, message: str) -> None:
    line = json.loads(RowWriter().line(row))
    assert message in line["error"]["message"]


def test_a_mark_before_the_first_line_of_a_text_is_none_of_it() -> None:
    assert json.loads(RowWriter().line("\ufeff" + json.dumps({"model": "m", "prompt": "p"})))["body"]["model"] == "m"
