"""From lines to requests: both formats, and what is refused with which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.batch.custom_ids import CustomIds
from keyfleet.batch.endpoints import join_url, split_url
from keyfleet.batch.json_text import one_line
from keyfleet.batch.lines import InputLine
from keyfleet.batch.parse import LineFormat, LineParser, ParsedLine, detect_format
from keyfleet.errors import ConfigurationError, InvalidRequest

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def line(text: str | bytes, number: int = 7) -> InputLine:
    raw = text.encode() if isinstance(text, str) else text
    return InputLine(number, 0, len(raw) + 1, raw)


def parse(text: str | bytes, line_format: LineFormat = "bare", url: str | None = None) -> ParsedLine:
    parser = LineParser(line_format, url)
    try:
        return parser.parse(line(text))
    finally:
        parser.close()


def batch_line(**changes: Any) -> str:
    fields = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT} | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...})


@pytest.mark.parametrize(
    ("first", "line_format"),
    [
        (batch_line(), "batch"),
        ('{"custom_id": "a", "body": {}}', "batch"),
        ('{"model": "m", "input": "x"}', "bare"),
        ('{"model": "m", "input": "x", "url": "y"}', "bare"),
        ('{"custom_id": "a", "method": "POST", "body": {"model"', "batch"),
        ("no json", "bare"),
        ("[1]", "bare"),
    ],
)
def test_the_first_line_tells_the_format(first: str, line_format: str) -> None:
    assert detect_format(first.encode()) == line_format


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        (CHAT, "/v1/chat/completions"),
        ({"model": "m", "prompt": "x"}, "/v1/completions"),
        ({"model": "m", "input": ["x"]}, "/v1/embeddings"),
    ],
)
def test_the_shape_of_a_bare_body_tells_its_endpoint(body: dict[str, Any], endpoint: str) -> None:
    parsed = parse(json.dumps(body))
    assert (parsed.number, parsed.endpoint, parsed.base_url, parsed.model) == (7, endpoint, None, "m")
    assert parsed.body == body == json.loads(parsed.body_bytes)


def test_the_url_option_counts_before_the_shape() -> None:
    parsed = parse('{"model": "m", "input": "x"}', url="https://host.example/v1/responses")
    assert (parsed.endpoint, parsed.base_url) == ("/v1/responses", "https://host.example/v1")


def test_the_url_of_a_batch_line_counts_before_the_option() -> None:
    parsed = parse(batch_line(), "batch", url="/v1/embeddings")
    assert (parsed.endpoint, parsed.custom_id, parsed.context) == ("/v1/chat/completions", "a", {"custom_id": "a"})


def test_a_batch_line_without_method_and_url_falls_back() -> None:
    assert parse(batch_line(url=..., method=...), "batch").endpoint == "/v1/chat/completions"


def test_metadata_is_kept_and_not_sent() -> None:
    parsed = parse('{"model": "m", "metadata": {"row": 1}, "input": "x"}')
    assert json.loads(parsed.body_bytes) == {"model": "m", "input": "x"} == parsed.body
    assert parsed.metadata == {"row": 1}
    assert parsed.original == parsed.body_bytes
    assert parsed.context == {"metadata": {"row": 1}}


def test_metadata_is_sent_too_if_store_is_true() -> None:
    parsed = parse('{"model": "m", "metadata": {"row": "1"}, "input": "x", "store": true}')
    assert json.loads(parsed.body_bytes)["metadata"] == {"row": "1"} == parsed.body["metadata"]
    assert json.loads(parsed.original) == {"model": "m", "input": "x", "store": True}


def test_metadata_in_the_body_of_a_batch_line_is_not_sent() -> None:
    parsed = parse(batch_line(body={**CHAT, "metadata": {"k": "v"}}), "batch")
    assert json.loads(parsed.body_bytes) == CHAT
    assert parsed.context == {"custom_id": "a", "metadata": {"k": "v"}}


def test_numbers_are_sent_as_they_were_written() -> None:
    huge = "9" * 5000
    text = f'{{"model": "m", "input": "x", "a": 1e400, "b": 0.10, "c": {huge}, "d": 12345678901234567890123}}'
    sent = parse(text).body_bytes.decode()
    assert sent == text
    nested = f'{{"custom_id": "a", "url": "/v1/embeddings", "body": {text}}}'
    assert parse(nested, "batch").body_bytes.decode() == text


def test_of_a_doubled_field_only_the_last_is_sent() -> None:
    parsed = parse('{"model": "one", "input": "x", "model": "two"}')
    assert parsed.model == "two"
    assert parsed.body_bytes == b'{"model": "two", "input": "x"}'


def test_azure_names_the_model_in_the_path() -> None:
    parsed = parse(
        '{"messages": [{}]}', url="https://x.example/openai/deployments/gpt-4o/chat/completions?api-version=1"
    )
    assert (parsed.model, parsed.base_url) == ("gpt-4o", "https://x.example")
    assert parsed.endpoint == "/openai/deployments/gpt-4o/chat/completions?api-version=1"


BARE_REFUSALS = [
    ("hello", "invalid_json", "is no JSON: expecting value"),
    ('{"model": "m"', "invalid_json", "expected ',' or '}'"),
    ('{"model" "m"}', "invalid_json", "expected ':'"),
    ('{"model": "m",}', "invalid_json", "expected a quoted field name"),
    ('{"model": "m", "input": "x"} {}', "invalid_json", "more text after"),
    (b'{"model": "\xff"}', "invalid_json", "not UTF-8 text"),
    ("[1]", "invalid_json", "no object"),
    ('{"model": "m", "input": "x", "t": NaN}', "invalid_json", "NaN is no JSON number"),
    ('{"model": "m", "input": "x", "t": [-Infinity]}', "invalid_json", "-Infinity is no JSON number"),
    ('{"model": "m", "input": "\\ud800"}', "invalid_json", "surrogate"),
    ('{"model": "m", "input": "a\tb"}', "invalid_json", "invalid control character"),
    ('{"model": "m", "input": ' + "[" * 100_000, "invalid_json", "nested too deeply"),
    ("[" * 100_000, "invalid_json", "nested too deeply"),
    ('{"input": "x"}', "missing_model", "`model` is missing; expected the name of a model"),
    ('{"input": "x", "model": 4}', "invalid_model", "`model` is no name"),
    ('{"input": "x", "model": " "}', "invalid_model", "`model` is no name"),
    ('{"model": "m"}', "unknown_shape", "none of messages, prompt, input"),
    ('{"model": "m", "messages": []}', "invalid_messages", "list of message objects"),
    ('{"model": "m", "messages": ["x"]}', "invalid_messages", "list of message objects"),
    ('{"model": "m", "messages": "x"}', "invalid_messages", "list of message objects"),
    ('{"model": "m", "prompt": null}', "missing_prompt", "`prompt` is missing"),
    ('{"model": "m", "input": 3}', "invalid_input", "a string, or a list"),
    ('{"model": "m", "input": []}', "invalid_input", "a string, or a list"),
    ('{"model": "m", "input": "x", "stream": true}', "stream_not_supported", "`stream` asks for a stream"),
    ('{"model": "m", "input": "x", "stream": 1}', "stream_not_supported", "`stream` asks for a stream"),
]


@pytest.mark.parametrize(("text", "code", "message"), BARE_REFUSALS)
def test_a_bare_line_that_cannot_be_sent_names_line_and_reason(text: str | bytes, code: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert caught.value.code == code
    assert str(caught.value).startswith("line 7")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"custom_id": ...}, "missing_custom_id", "`custom_id` is missing"),
        ({"custom_id": 4}, "invalid_custom_id", "`custom_id` is no string"),
        ({"method": "GET"}, "invalid_method", "`method` is not POST"),
        ({"body": ...}, "missing_body", "`body` is missing or no object"),
        ({"body": [1]}, "missing_body", "`body` is missing or no object"),
        ({"url": 3}, "invalid_url", "`url` is no string"),
        ({"url": "ftp://x/y"}, "invalid_url", "http:// or https://"),
        ({"url": "https://me:secret@host/v1/embeddings"}, "invalid_url", "user name or password"),
        ({"url": "/v1/audio/speech"}, "unsupported_endpoint", "answers with sound, not with JSON"),
        ({"url": "/v1/files/file-1/content"}, "unsupported_endpoint", "answers with a file"),
        ({"url": "/v1/images/edits"}, "unsupported_endpoint", "takes a form with files"),
        ({"url": "/v1/audio/transcriptions"}, "unsupported_endpoint", "takes a form with files"),
        ({"url": "/v1/embeddings"}, "missing_input", "`input` is missing; /v1/embeddings expects"),
        ({"url": "/v1/responses"}, "missing_input", "`input` is missing"),
        ({"body": {"messages": [{}]}}, "missing_model", "`model` is missing"),
    ],
)
def test_a_batch_line_that_cannot_be_sent_names_line_and_reason(
    changes: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(batch_line(**changes), "batch")
    assert caught.value.code == code
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_line_that_is_too_long_is_refused_by_its_length() -> None:
    parser = LineParser("bare")
    with pytest.raises(InvalidRequest, match="line 3 is longer than"):
        parser.parse(InputLine(3, 0, 10**9, b"{", oversized=True))
    parser.close()


def test_stream_false_and_null_are_no_streams() -> None:
    assert parse('{"model": "m", "input": "x", "stream": false}').model == "m"
    assert parse('{"model": "m", "input": "x", "stream": null}').model == "m"


def test_a_surrogate_pair_is_a_character() -> None:
    assert parse('{"model": "m", "input": "\\ud83d\\ude00"}').body["input"] == "😀"


def test_the_responses_api_takes_a_stored_prompt() -> None:
    assert parse('{"model": "m", "prompt": {"id": "p"}}', url="/v1/responses").endpoint == "/v1/responses"


def test_a_repeated_custom_id_names_the_first_line() -> None:
    parser = LineParser("batch")
    parser.parse(line(batch_line(), 1))
    parser.parse(line(batch_line(), 1))  # a line set aside is parsed again
    with pytest.raises(InvalidRequest, match="line 2: `custom_id` was used in line 1 already") as caught:
        parser.parse(line(batch_line(), 2))
    assert caught.value.code == "duplicate_custom_id"
    parser.close()


def test_lines_of_an_earlier_run_keep_their_custom_id() -> None:
    parser = LineParser("batch")
    parser.remember(line(batch_line(custom_id="early"), 1))
    parser.remember(line("no json", 2))
    with pytest.raises(InvalidRequest, match="used in line 1"):
        parser.parse(line(batch_line(custom_id="early"), 3))
    parser.close()


@given(st.lists(st.text(max_size=4), max_size=60))
def test_the_first_line_of_each_custom_id_owns_it(custom_ids: list[str]) -> None:
    owners = CustomIds()
    first: dict[str, int] = {}
    for number, custom_id in enumerate(custom_ids):
        assert owners.claim(custom_id, number) == first.setdefault(custom_id, number)
    owners.close()


@pytest.mark.parametrize(
    ("url", "split"),
    [
        ("/v1/embeddings", (None, "/v1/embeddings")),
        ("embeddings", (None, "/v1/embeddings")),
        ("/chat/completions", (None, "/v1/chat/completions")),
        ("/openai/v1/responses", (None, "/openai/v1/responses")),
        ("https://api.openai.com/v1/embeddings", ("https://api.openai.com/v1", "/v1/embeddings")),
        ("http://localhost:8000/v1/rerank", ("http://localhost:8000/v1", "/v1/rerank")),
        ("https://h/api/paas/v4/chat/completions", ("https://h/api/paas/v4", "/v1/chat/completions")),
        ("https://h/v1beta/openai/chat/completions", ("https://h/v1beta/openai", "/v1/chat/completions")),
        (
            "https://x.azure.com/openai/deployments/d/embeddings?api-version=2024-06-01",
            ("https://x.azure.com", "/openai/deployments/d/embeddings?api-version=2024-06-01"),
        ),
    ],
)
def test_a_url_splits_and_joins_again(url: str, split: tuple[str | None, str]) -> None:
    base_url, endpoint = split_url(url)
    assert (base_url, endpoint) == split
    if base_url is not None:
        assert join_url(base_url, endpoint) == url


@pytest.mark.parametrize("url", ["", "a b", "https://", "https://host", "file:///x", "https://u:p@h/v1/x"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        split_url(url)
    with pytest.raises(ConfigurationError, match="--url") as caught:
        LineParser("bare", url)
    assert caught.value.setting == "url"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(body=st.dictionaries(st.text(), JSON, max_size=4), ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_what_is_sent_means_what_was_written(body: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    body = {
        key: value for key, value in body.items() if key not in ("messages", "prompt", "stream", "metadata", "store")
    }
    body |= {"model": "m", "input": "x"}
    text = json.dumps(body, ensure_ascii=ascii_only, indent=indent).replace("\n", " ")
    assert json.loads(parse(text).body_bytes) == body


@given(JSON, st.sampled_from([None, 2]), st.booleans())
def test_a_document_in_one_line_means_the_same(value: Any, indent: int | None, ascii_only: bool) -> None:
    document = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    line_text = one_line(document.replace(b"\n", b"\r\n") if indent else document)
    assert line_text is not None
    assert b"\n" not in line_text
    assert b"\r" not in line_text
    assert json.loads(line_text) == value
