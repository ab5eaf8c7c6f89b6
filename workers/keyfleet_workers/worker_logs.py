"""What supervisors and workers log, to standard error and without the secrets of their keys and broker."""

from __future__ import annotations

import logging

from keyfleet.broker_address import passwords_in
from keyfleet.config import HIDDEN, Settings
from keyfleet.hidden_logs import hide_in_logs
from keyfleet.logs import formatter_of
from keyfleet_workers.binding import KeyBinding

__all__ = ["configure_logging", "hide_passwords", "log_without_secrets"]

TEXT_LINES = "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"
"""Log lines for people."""


class _NoConsumerFilter(logging.Filter):
    """Drops kombu's warning about a ticket that arrived for a queue just left alone: it goes back by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without consumers" not in record.getMessage()


def configure_logging(level: int, log_format: str) -> None:
    """Log to standard error, as supervisors and workers do."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter_of(log_format, TEXT_LINES))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("kombu.transport.virtual.base").addFilter(_NoConsumerFilter())
    logging.getLogger("celery").setLevel(max(level, logging.WARNING))


def log_without_secrets(settings: Settings, binding: KeyBinding, broker_url: str) -> None:
    """Log as a worker does: nothing shows of the key's secrets, nor of the broker's passwords."""
    passwords = passwords_in(broker_url)
    configure_logging(settings.log_level, settings.log_format)
    hide_in_logs(lambda text: binding.without_traces(_without(passwords, text)))


def hide_passwords(broker_url: str) -> None:
    """Have nothing of the broker's passwords in the logs of a process that has no key."""
    passwords = passwords_in(broker_url)
    hide_in_logs(lambda text: _without(passwords, text))


def _without(passwords: tuple[str, ...], text: str) -> str:
    for password in passwords:
        text = text.replace(password, HIDDEN)
    return text
