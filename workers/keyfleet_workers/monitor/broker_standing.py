"""What is wrong with the broker, told to those who look and, whenever it changes, to the log."""

from __future__ import annotations

import logging

import redis
from redis import exceptions

__all__ = ["BrokerStanding", "trouble_of"]

logger = logging.getLogger(__name__)

_TROUBLES: tuple[tuple[type[redis.RedisError], int, str], ...] = (
    (
        exceptions.NoPermissionError,
        403,
        "Flower's user of Redis may not do that; docs/operations.md has the ACL for it",
    ),
    (redis.AuthenticationError, 503, "the broker refuses the user or password of its address"),
    (exceptions.OutOfMemoryError, 503, "the broker's memory is full; docs/operations.md says what to do"),
    (exceptions.ReadOnlyError, 503, "the broker is a replica and takes no changes; Flower needs its primary's address"),
    (redis.BusyLoadingError, 503, "the broker is still reading its data from disk"),
    (redis.ConnectionError, 503, "the broker doesn't answer"),
    (redis.TimeoutError, 503, "the broker doesn't answer"),
)
"""The first that fits is told; sorts that are subclasses of others stand before them."""


def trouble_of(error: redis.RedisError) -> tuple[int, str]:
    """HTTP's status and a sentence, with nothing of the error's own text, which may hold a part of the address."""
    for sort, status, words in _TROUBLES:
        if isinstance(error, sort):
            return status, words
    if str(error).startswith("MISCONF"):
        return 503, "the broker takes no changes, because it can't write its data to disk"
    return 503, f"the broker answers with an error ({type(error).__name__})"


class BrokerStanding:
    """How the last talk with the broker ended. For one event loop."""

    def __init__(self) -> None:
        self._trouble = ""

    def fails(self, error: redis.RedisError) -> tuple[int, str]:
        """What to tell of an error: HTTP's status, and a sentence."""
        status, words = trouble_of(error)
        if words != self._trouble:
            logger.warning("%s (%s)", words, type(error).__name__)
        self._trouble = words
        return status, words

    def answers(self) -> None:
        """It did what was asked for."""
        if self._trouble:
            logger.info("the broker answers again")
        self._trouble = ""
