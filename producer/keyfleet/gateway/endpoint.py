"""What all paths have in common: methods, errors that nobody expected, and answers to those who are refused."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from starlette.types import Receive, Scope, Send

from keyfleet.api import Refused, Reply, error_reply
from keyfleet.gateway.exchange import ClientGone, Exchange

__all__ = ["INTERNAL_ERROR", "Endpoint", "internal_error", "note_failure"]

logger = logging.getLogger(__name__)

INTERNAL_ERROR = "internal_error"
"""Code of the error that says nothing but that it was ours."""

PLACES = 8
"""Lines of code that the log names where something failed."""


class Endpoint:
    """An ASGI application for one path. `methods` are those that it answers, beside OPTIONS."""

    methods: tuple[str, ...] = ("GET", "HEAD")

    def __init__(self, *, linger_s: float) -> None:
        self._linger_s = linger_s

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request of one of `methods`. Raises Refused and ClientGone."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, linger_s=self._linger_s)
        try:
            await self._answer(exchange)
        except Refused as refused:
            await exchange.reply(refused.reply)
        except ClientGone:
            return
        except Exception as error:
            note_failure(error)
            if not exchange.has_begun:
                await exchange.reply(internal_error())

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.method in self.methods:
            await self.answer(exchange)
            return
        allow = {"allow": ", ".join((*self.methods, "OPTIONS"))}
        if exchange.method == "OPTIONS":
            await exchange.reply(Reply(204, b"", allow))
            return
        message = f"expected {allow['allow']} for this path"
        raise Refused(error_reply(405, message, code="method_not_allowed", headers=allow))


def internal_error() -> Reply:
    """An error of ours, without details."""
    message = "the gateway failed at this request; its log tells where"
    return error_reply(500, message, code=INTERNAL_ERROR, kind="server_error", headers={})


def note_failure(error: BaseException) -> None:
    """Log where an error came from, and none of its words, which may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-PLACES:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    logger.error("a request failed with %s at %s", type(error).__name__, places)
