"""How log lines are written: as text for people, or as one JSON document a line for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

__all__ = ["LOG_FORMATS", "JsonFormatter", "configure_logging", "formatter_of", "parse_log_format"]

LOG_FORMATS = ("text", "json")
"""What `--log-format` takes."""

TEXT_LINES = "%(levelname)s %(name)s: %(message)s"
"""Log lines of commands for people."""

DEEPEST = 8
"""So deep fields may lie within each other; what lies deeper is written as text."""


def parse_log_format(text: str) -> str:
    """`text` or `json`. Raises ValueError."""
    name = text.strip().lower()
    if name not in LOG_FORMATS:
        raise ValueError("expected text or json")
    return name


def formatter_of(log_format: str, text: str) -> logging.Formatter:
    """What writes records in `log_format`; `text` is the pattern of lines for people."""
    return JsonFormatter() if log_format == "json" else logging.Formatter(text)


def configure_logging(level: int, log_format: str, handler: logging.Handler | None = None) -> None:
    """Log as commands do, through `handler`: by default to standard error, in `log_format`."""
    if handler is None:
        handler = logging.StreamHandler()
        handler.setFormatter(formatter_of(log_format, TEXT_LINES))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("kombu").setLevel(max(level, logging.WARNING))


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON.

    `ts` is RFC 3339 in UTC with milliseconds; `level`, `logger`, `message` and `process` (the process id) follow, then
    the mapping that the record was given as `extra={"fields": ...}`, whose own names never replace those. A traceback
    is one text, `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        return self.format_hidden(record, lambda text: text)

    def format_hidden(self, record: logging.LogRecord, hide: Callable[[str], str]) -> str:
        """The same, with every text sent through `hide` before JSON's escapes could conceal what is to be hidden."""
        document = {
            "ts": _rfc_3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if exception := self._exception(record):
            document["exception"] = exception
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            document.update({str(name): value for name, value in fields.items() if str(name) not in document})
        return json.dumps(_hidden(document, hide), ensure_ascii=False)

    def _exception(self, record: logging.LogRecord) -> str:
        parts = []
        if record.exc_info and record.exc_info[0] is not None:
            parts.append(self.formatException(record.exc_info))
        elif record.exc_text:
            parts.append(record.exc_text)
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(parts)


def _rfc_3339(at_s: float) -> str:
    moment = datetime.fromtimestamp(at_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hidden(value: Any, hide: Callable[[str], str], depth: int = 0) -> Any:
    """`value` as JSON can have it. Half a surrogate pair, which no UTF-8 stream takes, is written as an escape."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has neither infinity nor NaN
    if depth < DEEPEST and isinstance(value, Mapping):
        return {_text(str(name), hide): _hidden(one, hide, depth + 1) for name, one in value.items()}
    if depth < DEEPEST and isinstance(value, list | tuple):
        return [_hidden(one, hide, depth + 1) for one in value]
    return _text(str(value), hide)


def _text(text: str, hide: Callable[[str], str]) -> str:
    return hide(text).encode(errors="backslashreplace").decode()
