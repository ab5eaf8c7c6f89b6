"""Logs for programs: one JSON document a line, with the fields of its record, and with no secret."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from keyfleet.hidden_logs import hide_in_logs
from keyfleet.logs import JsonFormatter, formatter_of, parse_log_format

SECRET = 'sk-"quoted"\\secret'


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[logging.Logger, StringIO]]:
    """A root logger of the test's own that writes JSON."""
    stream, logger = StringIO(), logging.RootLogger(logging.INFO)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    monkeypatch.setattr(logging, "getLogger", lambda name=None: logger)
    yield logger, stream
    logging.captureWarnings(False)


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_logger_message_process_and_its_fields(root: tuple[logging.Logger, StringIO]) -> None:
    logger, stream = root
    logger.info("a chunk of %d", 3, extra={"fields": {"event": "chunk", "ends": {"succeeded": 3}, "took_s": 0.25}})
    (line,) = lines(stream)
    assert line.pop("ts")[10:].endswith("Z")
    assert line.pop("process") > 0
    assert line == {
        "level": "info",
        "logger": "root",
        "message": "a chunk of 3",
        "event": "chunk",
        "ends": {"succeeded": 3},
        "took_s": 0.25,
    }


def test_times_are_utc_with_milliseconds() -> None:
    record = logging.makeLogRecord({"created": 86_400.5, "msg": "x"})
    assert json.loads(JsonFormatter().format(record))["ts"] == "1970-01-02T00:00:00.500Z"


def test_a_traceback_is_one_field_of_the_same_line(root: tuple[logging.Logger, StringIO]) -> None:
    logger, stream = root
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("it broke")
    (line,) = lines(stream)
    assert line["message"] == "it broke"
    assert "test_logs.py" in line["exception"]
    assert line["exception"].endswith("ValueError: two\nlines")


def test_fields_never_replace_what_every_line_has(root: tuple[logging.Logger, StringIO]) -> None:
    logger, stream = root
    logger.info("said", extra={"fields": {"message": "other", "level": "none", "more": 1}})
    (line,) = lines(stream)
    assert (line["message"], line["level"], line["more"]) == ("said", "info", 1)


def test_what_json_can_not_have_becomes_text(root: tuple[logging.Logger, StringIO]) -> None:
    logger, stream = root
    deep: list[Any] = []
    deep.append(deep)
    fields = {"nan": float("nan"), "set": {1}, "half": "\ud800", 5: True, "deep": deep}
    logger.info("odd", extra={"fields": fields})
    (line,) = lines(stream)
    assert (line["nan"], line["set"], line["half"], line["5"]) == ("nan", "{1}", "\\ud800", True)


def test_a_secret_is_hidden_wherever_it_stands_although_json_would_escape_it(
    root: tuple[logging.Logger, StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, stream = root
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", lambda found: None)
    hide_in_logs(lambda text: text.replace(SECRET, "***"))
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("with %s", SECRET, extra={"fields": {"list": [SECRET], SECRET: {"in": SECRET}}})
    (line,) = lines(stream)
    assert "secret" not in stream.getvalue().replace("test_a_secret", "").replace("(SECRET)", "")
    assert (line["message"], line["list"], line["***"]) == ("with ***", ["***"], {"in": "***"})
    assert "ValueError: ***" in line["exception"]


def test_the_format_is_text_unless_json_is_asked_for() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO"})
    assert formatter_of("text", "%(levelname)s %(message)s").format(record) == "INFO x"
    assert json.loads(formatter_of("json", "").format(record))["message"] == "x"
    assert parse_log_format(" JSON ") == "json"
    with pytest.raises(ValueError, match="expected text or json"):
        parse_log_format("xml")
