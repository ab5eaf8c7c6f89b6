"""Flower in this process, asked over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
import redis
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop

from keyfleet_workers.monitor import application
from keyfleet_workers.monitor.application import FlowerTerms, GuardedFlower
from support.housekeeping_case import FLEET, HousekeepingCase

__all__ = ["Answers", "answers", "terms"]

PATIENCE_S = 10.0
"""Longer than any answer takes, and shorter than Flower waits for the rest of a request."""

T = TypeVar("T")


def terms(**more: Any) -> FlowerTerms:
    """Of a Flower for the fleet of the tests; nothing of Celery's listens where its broker is."""
    return FlowerTerms(broker_url="redis://127.0.0.1:9/0", fleet=FLEET, **more)


class Answers:
    """Asks an application that runs in a loop of its own, beside a server's stand-in."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(application, "connect", lambda url: client)
        self.loop = asyncio.new_event_loop()

    def ask(self, terms: FlowerTerms, *requests: tuple[str, str, dict[str, str], str | None]) -> list[HTTPResponse]:
        """The answers to all of them, one after the other."""

        async def ask(port: int) -> list[HTTPResponse]:
            http = AsyncHTTPClient(force_instance=True)
            try:
                return [
                    await http.fetch(
                        HTTPRequest(
                            f"http://127.0.0.1:{port}{path}", method=method, headers=headers, body=body,
                            allow_nonstandard_methods=True, follow_redirects=False,
                        ),
                        raise_error=False,
                    )
                    for method, path, headers, body in requests
                ]  # fmt: skip
            finally:
                http.close()

        return self.served(terms, ask)

    def served(self, terms: FlowerTerms, ask: Callable[[int], Awaitable[T]]) -> T:
        """What `ask` brings, given the port on which the application listens as it does for people."""

        async def serve() -> T:
            app = GuardedFlower(terms, IOLoop.current(), declare_flags=False)
            port = app.listen_on("127.0.0.1", 0)
            assert app.server is not None
            try:
                return await asyncio.wait_for(ask(port), PATIENCE_S)
            finally:
                app.server.stop()
                await app.server.close_all_connections()
                app.executor.shutdown()
                app.redis_executor.shutdown()

        return self.loop.run_until_complete(serve())


@pytest.fixture
def answers(housekeeping: HousekeepingCase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """Flower beside the server of a worker's housekeeping."""
    found = Answers(housekeeping.client, monkeypatch)
    yield found
    found.loop.close()
