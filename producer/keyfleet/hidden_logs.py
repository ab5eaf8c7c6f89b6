"""Logs that show no secret, whoever writes them: tracebacks and other packages' records included."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from keyfleet.logs import JsonFormatter

__all__ = ["hide_in_logs"]

logger = logging.getLogger(__name__)


class _HidingFormatter(logging.Formatter):
    """Lets another formatter write a record, and hides what must not be seen in all of its text."""

    def __init__(self, inner: logging.Formatter, hide: Callable[[str], str]) -> None:
        super().__init__()
        self._inner = inner
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(self._inner, JsonFormatter):
            return self._inner.format_hidden(record, self._hide)
        return self._hide(self._inner.format(record))


def hide_in_logs(hide: Callable[[str], str]) -> None:
    """Have all that this process logs from now on go through `hide`, as well as errors that nobody caught.

    Warnings become log records. Handlers that are added to loggers later are not covered.
    """
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, _HidingFormatter):
            handler.setFormatter(_HidingFormatter(handler.formatter or logging.Formatter(), hide))
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger.critical("an error ended this process", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_type is not SystemExit and found.exc_value is not None:
        name = found.thread.name if found.thread else "?"
        logger.critical(
            "an error ended the thread %s", name, exc_info=(found.exc_type, found.exc_value, found.exc_traceback)
        )
