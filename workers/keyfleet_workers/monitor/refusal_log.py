"""Tells the log who was not let in, without letting strangers fill it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tornado.httputil import HTTPServerRequest

__all__ = ["RefusalLog"]

logger = logging.getLogger(__name__)

EVERY_S = 1.0
"""At most one line in so long (s)."""

MAX_PATH_CHARACTERS = 100
"""A path is told up to this length."""


class RefusalLog:
    """The first refusal is told at once; of those within the next second, their number and the last one."""

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """`later` calls something after so many seconds, as an event loop does."""
        self._later = later
        self._rests = False
        self._untold = 0
        self._last = ""

    def tell(self, request: HTTPServerRequest, status: int) -> None:
        """A request was refused with HTTP's `status`."""
        asked = f"{request.method} {request.path[:MAX_PATH_CHARACTERS]}"
        self._last = f"{asked!r} from {request.remote_ip} with {status}"
        if self._rests:
            self._untold += 1
            return
        logger.warning("refused %s", self._last)
        self._rest()

    def _rest(self) -> None:
        self._rests = True
        self._later(EVERY_S, self._go_on)

    def _go_on(self) -> None:
        self._rests = False
        if self._untold:
            logger.warning("refused %d more, the last %s", self._untold, self._last)
            self._untold = 0
            self._rest()
